-- A finished scatter. ARGV: conversation, gather. Returns its record and its answers in order,
-- empty where a member gave none; or nothing where it was settled before, or is not finished: then
-- somebody made the entry up.
function commands.gathered()
  enter(arg())
  local gather = arg()
  local record = redis.call('HGET', v, 'g' .. gather)
  if not record or (tonumber(redis.call('HGET', v, 'n' .. gather)) or 1) > 0 then
    return {}
  end
  local found = {record}
  for position = 0, (tonumber(redis.call('HGET', v, 'k' .. gather)) or 0) - 1 do
    found[#found + 1] = redis.call('HGET', v, 'a' .. gather .. ':' .. position) or ''
  end
  return found
end
