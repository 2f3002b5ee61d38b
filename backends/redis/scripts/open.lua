-- Accepts messages from outside. ARGV: pump, number of this opening among the pump's, number of the
-- last one before which it has all replies, conversation, scope, message id (may be empty), most
-- slots of a thread, slots, what is sent. Returns {'ok', 1 if it opened the conversation}, {'known',
-- conversation, 1 if the first one's scope has closed, its answer} or {'slots', thread}.
function commands.open()
  if refused then
    -- The rest of the turn may write all the same: the door is where a full Redis is shut.
    error(refused)
  end
  local pump, number, replied = arg(), arg(), arg()
  local id, scope, message_id, max_slots = arg(), arg(), arg(), numeric_arg()
  local slots, sends = read_slots(), numeric_arg()

  -- What it opened and has no reply to: by now the conversation may have ended, and be forgotten.
  if redis.call('ZSCORE', openings_of(pump), scope) == number then
    return {'ok', 1}
  end
  local known = message_id ~= '' and redis.call('GET', prefix .. 'n:' .. message_id)
  if scope ~= id then
    unfold(known or id)
  end
  enter(known or id)
  -- Only a conversation without a name of its own begins with a scope called like itself.
  is_new = scope == id and not known
  if known then
    local first = scope_of(scope)
    if first and not string.find(' ' .. first[PUMPS] .. ' ', ' ' .. pump .. ' ', 1, true) then
      first[PUMPS] = first[PUMPS] .. ' ' .. pump
      save()
    end
    return {'known', known, first and 0 or 1, answer_of(scope) or ''}
  end
  local full, lengths = full_thread(slots, max_slots, is_new and {[id] = 0} or {})
  if full then
    return {'slots', full}
  end

  local has_begun = begin_scope(scope, sends, pump)
  if message_id ~= '' then
    redis.call('SET', prefix .. 'n:' .. message_id, id)
    set_field('m' .. message_id, '')
    set_field('x', '')
  end
  remember(slots, lengths)
  for _ = 1, sends do
    send()
  end
  save()
  note_opening(pump, number, replied, scope)
  count('accepted')
  return {'ok', has_begun and 1 or 0}
end
