-- Appends slots and links their threads, or does nothing. ARGV: most slots of a thread, most
-- threads (0: any number), then id, link and data of each slot; an empty link changes none.
-- Returns the indices, or the name of the limit in the way and the id it was met at.
local max_slots, max_threads = tonumber(ARGV[3]), tonumber(ARGV[4])

local sizes = {}
for i = 5, #ARGV, 3 do
  local id = ARGV[i]
  local size = sizes[id] or count_slots(id)
  if size == 0 and unfold(id) then
    size = 1
  end
  if size >= max_slots then
    return {'slots', id}
  end
  if size == 0 and max_threads > 0 and redis.call('ZCOUNT', THREADS, integer(now), '+inf') >= max_threads then
    return {'threads', id}
  end
  sizes[id] = size + 1
end

local indices = {}
for i = 5, #ARGV, 3 do
  local id, new_link, data = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local key = thread_key(id)
  if new_link ~= '' then
    link(id, string.sub(new_link, 2), '')
  elseif sizes[id] == 1 and redis.call('EXISTS', key) == 0 then
    redis.call('RPUSH', key, '')
    is_made[id] = true
  end
  indices[#indices + 1] = redis.call('RPUSH', key, data) - 2
end
for id in pairs(sizes) do
  local chain = chain_of(id)
  refresh(id, chain, true)
  if chain then
    refresh_callers(chain)
  end
end
tidy()
return indices
