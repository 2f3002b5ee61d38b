-- Records a dispatch in place of a taken entry, so that neither is ever without the other. ARGV:
-- entry, dispatch id, its record.
function commands.dispatch()
  local entry, id, record = arg(), arg(), arg()
  if not acknowledge(entry) then
    return {'duplicate'}
  end
  record_dispatch(id, record)
  return {'ok'}
end
