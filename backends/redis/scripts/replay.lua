-- Lets a dead letter run again, in a root scope of its own. ARGV: letter id, conversation, scope,
-- record. Returns 1, or 0 when the letter is gone.
local letter, id, scope, record = arg(), arg(), arg(), arg()
redis.call('ZREM', prefix .. 'i:letters', letter)
if redis.call('HDEL', prefix .. 'l:letters', letter) == 0 then
  return 0
end
enter(id)
begin_scope(scope, 1, '')
save()
deliver('m', record)
count('replayed')
index_conversations()
tidy()
return 1
