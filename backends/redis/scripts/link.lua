-- Links a chain and an id, each to nothing else. ARGV: chain, id, the id that the
-- chain stands for inside a conversation (empty: none).
local chain, id = ARGV[3], ARGV[4]
unfold(id)
if ARGV[5] ~= '' then
  unfold(ARGV[5])
end
link(id, chain, ARGV[5])
refresh(id, chain, count_slots(id) > 0)
refresh_callers(chain)
tidy()
