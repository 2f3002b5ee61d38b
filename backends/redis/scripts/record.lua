-- Records a dispatch outside of any conversation. ARGV: dispatch id, its record, the stream that
-- awaits the outcome (empty: the inbox).
local id, record, stream = arg(), arg(), arg()
if record_dispatch(id, record) and stream ~= '' then
  redis.call('HSET', STREAMS, id, stream)
end
publish_recorded()
return 1
