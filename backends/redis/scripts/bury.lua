-- Processes of a live worker died. ARGV: worker, most attempts, 1 if their work counts as an
-- attempt, the processes. Returns how many dispatches they had.
local worker, max_attempts, is_counted = arg(), numeric_arg(), arg() == '1'
local dead = {}
while at < #ARGV do
  dead[worker .. '/' .. arg()] = true
end
local found = bury(function(owner) return dead[owner] end, is_counted, max_attempts)
nudge()
return found
