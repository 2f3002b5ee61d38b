-- What became of root scopes whose news may have been lost. ARGV: conversation and scope of each.
-- Returns for each 'open', 'closed' or, where there is no such conversation, 'unknown'; and the answer
-- or ''.
function commands.recall()
  local found = {}
  while at < last do
    local id, scope = arg(), arg()
    enter(id)
    local is_folded = scope == id and folded(id)
    if is_folded or redis.call('HEXISTS', v, 's' .. scope) == 1 then
      found[#found + 1] = 'open'
    else
      found[#found + 1] = redis.call('EXISTS', v) == 1 and 'closed' or 'unknown'
    end
    found[#found + 1] = answer_of(scope) or ''
  end
  return found
end
