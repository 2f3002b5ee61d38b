-- A finished scatter. ARGV: conversation, gather. Returns its record and its answers in order,
-- empty where a member gave none; or nothing where it was settled before.
function commands.gathered()
  enter(arg())
  local gather = arg()
  local record = redis.call('HGET', v, 'g' .. gather)
  if not record then
    return {}
  end
  local found = {record}
  for position = 0, tonumber(redis.call('HGET', v, 'k' .. gather)) - 1 do
    found[#found + 1] = redis.call('HGET', v, 'a' .. gather .. ':' .. position) or ''
  end
  return found
end
