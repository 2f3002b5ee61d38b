-- Puts a taken message back until later. ARGV: entry, the message's conversation, id, record, delay
-- in ms.
function commands.defer()
  local entry, conversation_id, id, record, delay = arg(), arg(), arg(), arg(), numeric_arg()
  unfold(conversation_id)
  if not acknowledge(entry) then
    return {'duplicate'}
  end
  redis.call('HSET', prefix .. 'l:delayed', id, record)
  redis.call('ZADD', DELAYED, integer(now + delay), id)
  count('retries')
  return {'ok'}
end
