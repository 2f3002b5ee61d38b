-- Lets a dead letter run again, in a root scope of its own. ARGV: letter id, conversation, scope,
-- record. Returns 1, or 0 when the letter is gone.
local letter, id, scope, record = arg(), arg(), arg(), arg()
redis.call('ZREM', prefix .. 'i:letters', letter)
if redis.call('HDEL', prefix .. 'l:letters', letter) == 0 then
  return 0
end
enter(id)
begin_scope(scope, 1, '')
if redis.call('EXISTS', INBOX) == 0 then
  -- No pump may run; a stream without its group would be read by none.
  redis.call('XGROUP', 'CREATE', INBOX, GROUP, '0', 'MKSTREAM')
end
deliver('m', record)
count('replayed')
tidy()
return 1
