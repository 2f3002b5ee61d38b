-- A worker won't run a dispatch it claimed. ARGV: owner, id, fingerprint that a worker would need
-- (empty: any will do).
local owner, id, fingerprint = arg(), arg(), arg()
if redis.call('HGET', CLAIMS, id) ~= owner then
  return 0
end
redis.call('HDEL', CLAIMS, id)
count('released')
if fingerprint == '' or can_run(fingerprint) then
  redis.call('LPUSH', READY, id)
  nudge()
else
  redis.call('HSET', PARKED, id, cmsgpack.pack({fingerprint, now}))
end
return 1
