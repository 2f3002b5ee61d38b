-- Processes of a live worker died. ARGV: worker, most attempts, 1 if their work counts as an
-- attempt, the processes that live. Returns how many dispatches they had.
local worker, max_attempts, is_counted = arg(), numeric_arg(), arg() == '1'
local live = {}
while at < #ARGV do
  live[worker .. '/' .. arg()] = true
end
local found = bury(function(owner)
  return worker_of(owner) == worker and not live[owner]
end, is_counted, max_attempts)
nudge()
return found
