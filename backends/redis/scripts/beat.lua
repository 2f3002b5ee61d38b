-- One pump or worker is alive. ARGV: 'p' or 'w', its id, lease in ms, then what a worker tells (fields
-- and values) or a pump (its word, see agreement.py). Moves retries that are due, and makes the pump's
-- streams if they are gone. Returns now and, for a pump, ms until the next retry (-1: none), what
-- waits, what can be published, and 1 if its news stream was gone; last what Redis has against new
-- work, as an error, or ''.

-- The clock has been set back, or is another server's: what is due by the one before is so by this one.
-- But for leases that may have been renewed since.
local function turn_back(by, lease)
  for key, unit in pairs({[ALIVE] = 1, [DELAYED] = 1, [PUBLISHED] = 1000}) do
    local rows = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #rows, 2 do
      local before = tonumber(rows[i + 1])
      local moment = before - by * unit
      if key ~= ALIVE or moment >= now or before > now + lease then
        redis.call('ZADD', key, integer(moment), rows[i])
      end
    end
  end
  redis.call('DEL', MARK)
  local since = tonumber(redis.call('HGET', SERVICE, 'since')) or now
  redis.call('HSET', SERVICE, 'since', integer(since - by))
end

local refused = shortage() or ''
begin_though_full()
local kind, id, lease = arg(), arg(), numeric_arg()
local last = tonumber(redis.call('HGET', SERVICE, 'last')) or 0
-- Workers may not touch what is delayed, and leave all of it to a pump.
if kind == 'p' and last > now then
  turn_back(last - now, lease)
  last = now
end
redis.call('ZADD', ALIVE, integer(now + lease), kind .. ':' .. id)
redis.call('PEXPIRE', ALIVE, integer(lease * LEASES_KEPT))
-- Since when somebody has reached us without a break: what lapsed before says nothing.
if now - last > lease / 2 then
  redis.call('HSET', SERVICE, 'since', integer(now))
end
redis.call('HSET', SERVICE, 'last', integer(math.max(now, last)))
redis.call('PEXPIRE', SERVICE, integer(lease * LEASES_KEPT))
if kind == 'w' then
  local processes = processes_of(id)
  while at < #ARGV do
    redis.call('HSET', worker_key(id), arg(), arg())
  end
  redis.call('PEXPIRE', worker_key(id), integer(lease * LEASES_KEPT))
  if processes_of(id) > processes and is_short_of_published(backlog()) then
    -- They have come just now.
    nudge()
  end
  return {integer(now), refused}
end
if ARGV[at + 1] then
  redis.call('HSET', SERVICE, 'k' .. id, arg())
end
local news_stream = prefix .. 's:' .. id
local is_fresh = redis.call('EXISTS', news_stream) == 0
if is_fresh then
  redis.call('XGROUP', 'CREATE', news_stream, GROUP, '0', 'MKSTREAM')
end
redis.call('PEXPIRE', news_stream, integer(lease * LEASES_KEPT))
make_inbox()
if redis.call('XLEN', INBOX) == 0 then
  expire_if_ends(INBOX)
end
if real_ttl > 0 then
  -- Not between two beats, however soon conversations end.
  redis.call('PEXPIRE', COUNTS, integer(math.max(real_ttl, 2 * lease)))
end
local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', integer(now), 'LIMIT', 0, 1000)
for _, message in ipairs(due) do
  deliver('m', redis.call('HGET', prefix .. 'l:delayed', message))
  redis.call('ZREM', DELAYED, message)
  redis.call('HDEL', prefix .. 'l:delayed', message)
end
local following = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
local pause = following and math.max(0, tonumber(following) - now) or -1
return {integer(now), integer(pause), waiting(), redis.call('LLEN', READY), is_fresh and 1 or 0, refused}
