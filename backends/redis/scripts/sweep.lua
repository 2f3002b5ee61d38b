-- Takes over what the dead held, and what the broker lost. ARGV: lease in ms, most attempts, ms to
-- wait for a worker that fits. Returns how many entries and dispatches were moved.
local lease, max_attempts, no_worker = numeric_arg(), numeric_arg(), numeric_arg()
begin_though_full()
local since = tonumber(redis.call('HGET', SERVICE, 'since')) or now
if now - since < lease then
  -- After an outage everybody gets the time to say that they live.
  return 0
end
local moved = 0

for _, member in ipairs(redis.call('ZRANGEBYSCORE', ALIVE, '-inf', integer(now))) do
  local id = string.sub(member, 3)
  if string.sub(member, 1, 2) == 'p:' then
    moved = moved + bury_pump(id)
  else
    -- A lease that ran out while Redis was away says nothing about its owner.
    local is_counted = tonumber(redis.call('ZSCORE', ALIVE, member)) > since
    moved = moved + bury_worker(id, is_counted, max_attempts)
  end
end

-- Owners whose lease is not even remembered.
if redis.call('EXISTS', INBOX) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', INBOX)) do
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', INBOX, group[2])) do
      if not redis.call('ZSCORE', ALIVE, 'p:' .. consumer[2]) then
        moved = moved + bury_pump(consumer[2])
      end
    end
  end
end
local known, free = {}, {}
for _, worker in ipairs(live_workers()) do
  known[worker] = true
  -- One that is about to stop takes nothing more.
  free[worker] = processes_of(worker)
end
local is_busy = {}
for _, owner in ipairs(redis.call('HVALS', CLAIMS)) do
  local worker = worker_of(owner)
  if not is_busy[owner] then
    is_busy[owner] = true
    free[worker] = (free[worker] or 0) - 1
  end
  if not known[worker] then
    moved = moved + bury_worker(worker, false, max_attempts)
  end
end

-- Published long ago and never claimed, though later ones were or a process has nothing to do.
local latest = (now - lease) * 1000
local is_any_free = false
for _, processes in pairs(free) do
  is_any_free = is_any_free or processes > 0
end
if not is_any_free then
  latest = math.min(latest, (tonumber(redis.call('GET', MARK)) or 0) - 1)
end
moved = moved + publish_again(integer(latest))

local parked = redis.call('HGETALL', PARKED)
for i = 1, #parked, 2 do
  local id, wanted = parked[i], unpacked(parked[i + 1]) or {}
  local fingerprint, since_ms = wanted[1], tonumber(wanted[2])
  if not fingerprint or not since_ms or can_run(fingerprint) then
    -- What can't be read is judged anew by who claims it.
    redis.call('HDEL', PARKED, id)
    redis.call('LPUSH', READY, id)
    moved = moved + 1
  elseif now - since_ms >= no_worker then
    give_up(id, 'no_worker', '')
  end
end
return moved
