-- What the ledger's scripts share, after conversations.lua. A dispatch is recorded (its id in
-- `l:ready`), published (in `l:published`), claimed (in `l:claims`, by worker and process) or gone;
-- its record is in `l:dispatches` until then.
local DISPATCHES, CLAIMS = prefix .. 'l:dispatches', prefix .. 'l:claims'
local PUBLISHED, PARKED = prefix .. 'l:published', prefix .. 'l:parked'
local DEATHS, MARK = prefix .. 'l:deaths', prefix .. 'l:mark'
local STREAMS = prefix .. 'l:streams'
local ALIVE = prefix .. 'i:alive'
-- Leases outlive their owners by this much, so that somebody is left to notice.
local LEASES_KEPT = 60

local function worker_key(worker)
  return prefix .. 'w:' .. worker
end

-- Wakes one pump, if there is anything to publish.
local function nudge()
  if redis.call('LLEN', READY) > 0 then
    deliver('w', '')
  end
end

local function live_workers()
  local found = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', ALIVE, '(' .. integer(now), '+inf')) do
    if string.sub(member, 1, 2) == 'w:' then
      found[#found + 1] = string.sub(member, 3)
    end
  end
  return found
end

local function worker_of(owner)
  return string.match(owner, '^([^/]*)')
end

-- Is there a live worker that runs handlers with this fingerprint?
local function can_run(fingerprint)
  for _, worker in ipairs(live_workers()) do
    if redis.call('HEXISTS', worker_key(worker), 'f' .. fingerprint) == 1 then
      return true
    end
  end
  return false
end

-- Ends a dispatch: what came of it goes to the stream that awaits it, or to any pump.
local function finish(id, ...)
  local stream = redis.call('HGET', STREAMS, id)
  if stream then
    redis.call('HDEL', STREAMS, id)
    redis.call('XADD', prefix .. 's:' .. stream, 'NOMKSTREAM', '*', 'i', id, ...)
  else
    deliver('i', id, ...)
  end
  redis.call('HDEL', CLAIMS, id)
  redis.call('HDEL', DISPATCHES, id)
  redis.call('HDEL', DEATHS, id)
end

-- Ends a dispatch that no worker will finish.
local function give_up(id, reason, history)
  redis.call('HDEL', PARKED, id)
  finish(id, 'x', redis.call('HGET', DISPATCHES, id), 'y', reason, 'h', history)
end

-- Puts what dead processes had claimed back; counted, one that has killed too many is given up.
local function bury(is_dead, is_counted, max_attempts)
  local found = 0
  local claims = redis.call('HGETALL', CLAIMS)
  for i = 1, #claims, 2 do
    local id, owner = claims[i], claims[i + 1]
    if is_dead(owner) then
      found = found + 1
      redis.call('HDEL', CLAIMS, id)
      if is_counted then
        local raw = redis.call('HGET', DEATHS, id)
        local history = raw and cmsgpack.unpack(raw) or {}
        history[#history + 1] = {owner, integer(now)}
        redis.call('HSET', DEATHS, id, cmsgpack.pack(history))
        if #history >= max_attempts then
          give_up(id, 'killed', cmsgpack.pack(history))
        else
          redis.call('LPUSH', READY, id)
        end
      else
        redis.call('LPUSH', READY, id)
      end
    end
  end
  if found > 0 then
    count('taken_over', found)
  end
  return found
end

-- Publishes again what nobody has claimed; the claim makes copies harmless.
local function publish_again(latest)
  local ids = redis.call('ZRANGEBYSCORE', PUBLISHED, '-inf', latest, 'LIMIT', 0, 4000)
  for i = #ids, 1, -1 do
    redis.call('ZREM', PUBLISHED, ids[i])
    redis.call('LPUSH', READY, ids[i])
  end
  if #ids > 0 then
    count('published_again', #ids)
  end
  return #ids
end

local function bury_worker(worker, is_counted, max_attempts)
  redis.call('ZREM', ALIVE, 'w:' .. worker)
  redis.call('DEL', worker_key(worker))
  local found = bury(function(owner) return worker_of(owner) == worker end, is_counted, max_attempts)
  return found + publish_again('+inf')
end

-- Gives the entries a pump holds to whoever takes next.
local function bury_pump(pump)
  redis.call('ZREM', ALIVE, 'p:' .. pump)
  redis.call('DEL', prefix .. 's:' .. pump)
  if redis.call('EXISTS', INBOX) == 0 then
    return 0
  end
  local found = 0
  while true do
    local pending = redis.call('XPENDING', INBOX, GROUP, '-', '+', 100, pump)
    for _, row in ipairs(pending) do
      local entry = redis.call('XRANGE', INBOX, row[1], row[1])[1]
      if entry then
        deliver(unpack(entry[2]))
        found = found + 1
      end
      redis.call('XACK', INBOX, GROUP, row[1])
      redis.call('XDEL', INBOX, row[1])
    end
    if #pending < 100 then
      break
    end
  end
  redis.call('XGROUP', 'DELCONSUMER', INBOX, GROUP, pump)
  if found > 0 then
    count('taken_over', found)
  elseif redis.call('XLEN', INBOX) == 0 then
    expire_if_ends(INBOX)
  end
  return found
end
