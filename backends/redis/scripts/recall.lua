-- What became of root scopes whose news may have been lost. ARGV: conversation and scope of each.
-- Returns for each 'open', 'closed' or, where there is no such conversation, 'unknown'; and the answer
-- or ''.
local function state_of(id, scope)
  enter(id)
  local is_folded = scope == id and folded(id)
  if is_folded or redis.call('HEXISTS', v, 's' .. scope) == 1 then
    return 'open', answer_of(scope) or ''
  end
  return redis.call('EXISTS', v) == 1 and 'closed' or 'unknown', answer_of(scope) or ''
end

function commands.recall()
  local found = {}
  while at < last do
    local is_read, state, answer = pcall(state_of, arg(), arg())
    -- What somebody has broken must not keep others from being told.
    found[#found + 1] = is_read and state or 'open'
    found[#found + 1] = is_read and answer or ''
  end
  return found
end
