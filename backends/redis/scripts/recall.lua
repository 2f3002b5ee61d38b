-- What became of root scopes whose news may have been lost. ARGV: conversation and scope of each.
-- Returns for each 'open' or 'closed', and the answer or ''.
function commands.recall()
  local found = {}
  while at < last do
    enter(arg())
    local scope = arg()
    found[#found + 1] = redis.call('HEXISTS', v, 's' .. scope) == 1 and 'open' or 'closed'
    found[#found + 1] = answer_of(scope) or ''
  end
  return found
end
