-- The broker did not take these. ARGV: ids, oldest first.
local ids = {}
while at < #ARGV do
  ids[#ids + 1] = arg()
end
for i = #ids, 1, -1 do
  if redis.call('ZREM', PUBLISHED, ids[i]) == 1 then
    redis.call('LPUSH', READY, ids[i])
  end
end
return #ids
