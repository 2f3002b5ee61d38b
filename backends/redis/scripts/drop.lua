-- Takes out of the stream what is no message of ours. ARGV: entry, raw bytes to keep (may be
-- empty), most of these.
function commands.drop()
  local entry, raw, most = arg(), arg(), numeric_arg()
  if acknowledge(entry) and raw ~= '' then
    quarantine(raw, most)
  end
  return {'ok'}
end
