-- Deletes what some threads have. ARGV: 'slots', 'links' or 'all', then ids.
-- Returns how many threads had any of it.
local what, found = ARGV[3], 0
for i = 4, #ARGV do
  local id = ARGV[i]
  unfold(id)
  local chain = what ~= 'slots' and chain_of(id)
  local has_slots = what ~= 'links' and count_slots(id) > 0
  if has_slots then
    drop_slots(id)
  end
  if chain then
    unlink(id, chain)
  end
  if has_slots or chain then
    found = found + 1
  end
end
tidy()
return found
