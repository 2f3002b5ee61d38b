-- Accepts a message that begins a conversation, which stays folded. ARGV: pump, number of this
-- opening among the pump's, number of the last one before which it has all replies, conversation
-- (its scope, its thread and its first message too), chain, slot, tag (may be empty). Returns as
-- `open`.
function commands.begin()
  if refused then
    error(refused)
  end
  local pump, number, replied = arg(), arg(), arg()
  local id, chain, slot, tag = arg(), arg(), arg(), arg()
  if redis.call('ZSCORE', openings_of(pump), id) == number then
    return {'ok', 1}
  end
  local entry
  if tag == '' then
    entry = deliver('l', chain, 'p', pump, 'd', slot)
  else
    entry = deliver('l', chain, 'p', pump, 'd', slot, 'm', tag)
  end
  is_open[id] = place_of(entry)
  if not is_open[id] then
    -- So many came in at once that nothing could lead to this one.
    enter(id)
    is_open[id] = true
    unfold_into(chain, pump, slot)
    save()
  end
  note_opening(pump, number, replied, id)
  count('accepted')
  return {'ok', 1}
end
