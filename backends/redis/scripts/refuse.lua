-- A dispatch whose record is not ours ends here. ARGV: id, raw bytes to keep, most of these.
local id, raw, most = arg(), arg(), numeric_arg()
redis.call('HDEL', DISPATCHES, id)
redis.call('HDEL', CLAIMS, id)
redis.call('HDEL', DEATHS, id)
redis.call('HDEL', STREAMS, id)
quarantine(raw, most)
return 1
