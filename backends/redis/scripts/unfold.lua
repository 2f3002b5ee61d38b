-- Gives a conversation that is nothing yet but its first message keys of its own. ARGV: its id.
-- Returns 1 if it was one.
local was_folded = unfold(ARGV[3])
tidy()
return was_folded and 1 or 0
