-- A worker's process is about to run dispatches. ARGV: owner (worker/process), lease in ms, a batch.
-- Returns the record of each, or '' where it is done or somebody else's; then how many wait to be
-- published. Wakes a pump if nothing is on its way any more.
begin_though_full()
local owner, lease, joined = arg(), numeric_arg(), arg()
-- One that has not beaten for long must not hold a claim that nobody would notice.
redis.call('ZADD', ALIVE, 'NX', integer(now + lease), 'w:' .. worker_of(owner))
local moment = redis.call('ZSCORE', PUBLISHED, joined)
if moment then
  redis.call('ZREM', PUBLISHED, joined)
  if tonumber(moment) > (tonumber(redis.call('GET', MARK)) or 0) then
    redis.call('SET', MARK, integer(tonumber(moment)), 'PX', integer(lease * LEASES_KEPT))
  end
end
local ids = split(joined)
local kept = redis.call('HMGET', DISPATCHES, unpack(ids))
local holders = redis.call('HMGET', CLAIMS, unpack(ids))
local records, claims, copies = {}, {}, 0
for i, id in ipairs(ids) do
  if kept[i] and (not holders[i] or holders[i] == owner) then
    records[i] = record_of(kept[i])
    claims[#claims + 1] = id
    claims[#claims + 1] = owner
  else
    records[i] = ''
    copies = copies + 1
  end
end
if #claims > 0 then
  redis.call('HSET', CLAIMS, unpack(claims))
  if redis.call('EXISTS', PARKED) == 1 then
    -- A copy reached one who may run it after all.
    for i = 1, #claims, 2 do
      redis.call('HDEL', PARKED, claims[i])
    end
  end
end
if copies > 0 then
  count('copies', copies)
end
local waits = redis.call('LLEN', READY)
if waits > 0 and redis.call('ZCARD', PUBLISHED) == 0 then
  -- The next who is free would have to wait for an outcome.
  nudge()
end
records[#records + 1] = waits
return records
