-- Deletes the slots or the links of every thread. ARGV: 'slots' or 'links'.
local function forget_link(id)
  local chain = chain_of(id)
  if chain then
    unlink(id, chain)
  end
end
local is_for_slots = ARGV[3] == 'slots'
local forget = is_for_slots and drop_slots or forget_link
for _, id in ipairs(redis.call('ZRANGE', is_for_slots and THREADS or LINKS, 0, -1)) do
  forget(id)
end
each_conversation_thread(function(id, is_folded)
  if is_folded then
    unfold(id)
  end
  forget(id)
end)
tidy()
