-- Accepts messages from outside. ARGV: pump, number of this opening among the pump's, number of the
-- last one before which it has all replies, conversation, scope, message id (may be empty), most
-- slots of a thread, slots, records. Returns {'ok', 1 if it opened the conversation, what waits},
-- {'known', conversation, 1 if the first one's scope has closed, its answer} or {'slots', thread}.
local pump, number, replied = arg(), arg(), arg()
local id, scope, message_id, max_slots = arg(), arg(), arg(), numeric_arg()
local slots, records = read_slots(), numeric_arg()

-- What it opened and has no reply to: by now the conversation may have ended, and be forgotten.
local opened = openings_of(pump)
if redis.call('ZSCORE', opened, scope) == number then
  return {'ok', 1, waiting()}
end
local known = message_id ~= '' and redis.call('GET', prefix .. 'n:' .. message_id)
enter(known or id)
if known then
  local first = scope_of(scope)
  if first and not string.find(' ' .. first[PUMPS] .. ' ', ' ' .. pump .. ' ', 1, true) then
    first[PUMPS] = first[PUMPS] .. ' ' .. pump
    save_scopes()
  end
  return {'known', known, first and 0 or 1, redis.call('HGET', v, 'r' .. scope) or ''}
end
local full = full_thread(slots, max_slots)
if full then
  return {'slots', full}
end

redis.call('ZREMRANGEBYSCORE', opened, '-inf', '(' .. replied)
redis.call('ZADD', opened, number, scope)
redis.call('PEXPIRE', opened, OPENINGS_KEPT)
local is_new = begin_scope(scope, records, pump)
if message_id ~= '' then
  redis.call('SET', prefix .. 'n:' .. message_id, id)
  redis.call('HSET', v, 'm' .. message_id, '')
end
remember(slots)
for _ = 1, records do
  deliver('m', arg())
end
count('accepted')
tidy()
return {'ok', is_new and 1 or 0, waiting()}
