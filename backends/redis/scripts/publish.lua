-- Takes what may be published now. ARGV: most unclaimed messages per live pool process, most of
-- this call. Returns id and record of each.
local window, most = numeric_arg(), numeric_arg()
local processes = 0
for _, worker in ipairs(live_workers()) do
  processes = processes + tonumber(redis.call('HGET', worker_key(worker), 'p') or 0)
end
local room = window * math.max(processes, 1) - redis.call('ZCARD', PUBLISHED)
local found = {}
local moment = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
while room > 0 and #found < 2 * most do
  local id = redis.call('LPOP', READY)
  if not id then
    break
  end
  local record = redis.call('HGET', DISPATCHES, id)
  if record and redis.call('HEXISTS', CLAIMS, id) == 0 then
    moment = moment + 1
    room = room - 1
    redis.call('ZADD', PUBLISHED, integer(moment), id)
    found[#found + 1] = id
    found[#found + 1] = record
  end
end
return found
