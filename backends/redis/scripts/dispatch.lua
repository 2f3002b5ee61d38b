-- Records a dispatch in place of a taken entry, so that neither is ever without the other. ARGV:
-- entry (empty: there is none), dispatch id, listener, record, stream that awaits the outcome
-- (empty: inbox).
local entry, id, listener, record, stream = arg(), arg(), arg(), arg(), arg()
if entry ~= '' and not acknowledge(entry) then
  return {'duplicate'}
end
if redis.call('HSETNX', DISPATCHES, id, listener .. '\n' .. record) == 1 then
  if stream ~= '' then
    redis.call('HSET', STREAMS, id, stream)
  end
  redis.call('RPUSH', READY, id)
  count('dispatched')
end
return {'ok', waiting()}
