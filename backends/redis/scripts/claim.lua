-- A worker's process is about to run dispatches. ARGV: owner (worker/process), lease in ms, ids.
-- Returns the record of each, or '' where it is done or somebody else's.
local owner, lease = arg(), numeric_arg()
-- One that has not beaten for long must not hold a claim that nobody would notice.
redis.call('ZADD', ALIVE, 'NX', integer(now + lease), 'w:' .. worker_of(owner))
local records = {}
while at < #ARGV do
  local id = arg()
  local record = redis.call('HGET', DISPATCHES, id)
  local holder = record and redis.call('HGET', CLAIMS, id)
  if record and (not holder or holder == owner) then
    redis.call('HSET', CLAIMS, id, owner)
    local moment = redis.call('ZSCORE', PUBLISHED, id)
    if moment then
      redis.call('ZREM', PUBLISHED, id)
      if tonumber(moment) > tonumber(redis.call('GET', MARK) or 0) then
        redis.call('SET', MARK, integer(tonumber(moment)), 'PX', integer(lease * LEASES_KEPT))
      end
    end
    records[#records + 1] = record
  else
    records[#records + 1] = ''
    count('copies')
  end
end
return records
