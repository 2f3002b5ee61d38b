-- What became of root scopes whose news may have been lost. ARGV: conversation and scope of each.
-- Returns for each 'open' or 'closed', and the answer or ''.
function commands.recall()
  local found = {}
  while at < last do
    local id, scope = arg(), arg()
    enter(id)
    local is_there = redis.call('HEXISTS', v, 's' .. scope) == 1 or scope == id and folded(id)
    found[#found + 1] = is_there and 'open' or 'closed'
    found[#found + 1] = answer_of(scope) or ''
  end
  return found
end
