-- Records a dispatch in place of a taken entry, so that neither is ever without the other. ARGV:
-- entry, the message's conversation, dispatch id, its record.
function commands.dispatch()
  local entry, conversation_id, id, record = arg(), arg(), arg(), arg()
  unfold(conversation_id)
  if not acknowledge(entry) then
    return {'duplicate'}
  end
  record_dispatch(id, record)
  return {'ok'}
end
