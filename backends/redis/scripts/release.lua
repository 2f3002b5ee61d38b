-- A process won't run dispatches it claimed. ARGV: owner, fingerprint that a worker would need
-- (empty: any will do), ids. Returns how many it held.
local owner, fingerprint = arg(), arg()
local ids = {}
while at < #ARGV do
  local id = arg()
  if redis.call('HGET', CLAIMS, id) == owner then
    redis.call('HDEL', CLAIMS, id)
    ids[#ids + 1] = id
  end
end
if #ids == 0 then
  return 0
end
count('released', #ids)
if fingerprint == '' or can_run(fingerprint) then
  put_first(ids)
  nudge()
else
  for _, id in ipairs(ids) do
    redis.call('HSET', PARKED, id, cmsgpack.pack({fingerprint, now}))
  end
end
return #ids
