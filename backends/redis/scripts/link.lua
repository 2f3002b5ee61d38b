-- Links a chain and an id, each to nothing else. ARGV: chain, id.
local chain, id = ARGV[3], ARGV[4]
link(id, chain)
refresh(id, chain, count_slots(id) > 0)
refresh_callers(chain)
tidy()
