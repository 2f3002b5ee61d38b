-- Threads that have slots, as ids; or links, as id and chain in turn. ARGV: 'slots' or 'links'.
local is_for_slots = ARGV[3] == 'slots'
local found = redis.call('ZRANGEBYSCORE', is_for_slots and THREADS or LINKS, integer(now), '+inf')
local is_found = {}
for _, id in ipairs(found) do
  is_found[id] = true
end
local chains = {}
each_conversation_thread(function(id, is_folded)
  if not is_found[id] and (is_folded or not is_for_slots or count_slots(id) > 0) then
    found[#found + 1] = id
    chains[id] = is_folded and not is_for_slots and folded(id).l
  end
end)
if is_for_slots then
  return found
end
local links = {}
for _, id in ipairs(found) do
  local chain = chains[id] or chain_of(id)
  if chain then
    links[#links + 1] = id
    links[#links + 1] = chain
  end
end
return links
