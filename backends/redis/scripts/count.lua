-- How many threads have slots, and how many ids are linked.
local slots = redis.call('ZCOUNT', THREADS, integer(now), '+inf')
local links = redis.call('ZCOUNT', LINKS, integer(now), '+inf')
each_conversation_thread(function(id, is_folded)
  if (is_folded or count_slots(id) > 0) and not redis.call('ZSCORE', THREADS, id) then
    slots = slots + 1
  end
  if (is_folded or chain_of(id)) and not redis.call('ZSCORE', LINKS, id) then
    links = links + 1
  end
end)
return {slots, links}
