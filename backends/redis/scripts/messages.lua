-- What enters a conversation: slots and messages; after fields.lua.
-- Slots as they stand in ARGV: how many, then thread, chain and data of each.
local function read_slots()
  local slots = {}
  for i = 1, numeric_arg() do
    slots[i] = {arg(), arg(), arg()}
  end
  return slots
end

-- The thread that has no room for its slots, or nil; and the length of each list as it is. *lengths*:
-- those that are known.
local function full_thread(slots, max_slots, lengths)
  local sizes = {}
  for _, slot in ipairs(slots) do
    local id = slot[1]
    lengths[id] = lengths[id] or redis.call('LLEN', thread_key(id))
    local size = sizes[id] or math.max(lengths[id] - 1, 0)
    if size >= max_slots then
      return id
    end
    sizes[id] = size + 1
  end
  return nil, lengths
end

-- Makes a thread that somebody has written to before a thread of this conversation.
local function adopt(id, chain)
  local known = chain_of(id)
  if known then
    redis.call('DEL', chain_key(known))
  end
  redis.call('LSET', thread_key(id), 0, '=' .. chain)
  redis.call('PERSIST', thread_key(id))
  take_from(THREADS, id)
  take_from(LINKS, id)
end

local function add_thread(id)
  set_field('t' .. id, '')
  if id ~= conversation then
    set_field('x', '')
  end
end

local function remember(slots, lengths)
  for _, slot in ipairs(slots) do
    local id, chain, data = slot[1], slot[2], slot[3]
    if lengths[id] == 0 then
      add_thread(id)
      if redis.call('RPUSH', thread_key(id), '=' .. chain, data) > 2 then
        -- A new conversation's own, of which nobody should have known.
        redis.call('LSET', thread_key(id), -2, data)
        redis.call('LTRIM', thread_key(id), 0, -2)
        adopt(id, chain)
      end
    else
      if lengths[id] and not field('t' .. id) then
        add_thread(id)
        adopt(id, chain)
      end
      redis.call('RPUSH', thread_key(id), data)
    end
    lengths[id] = nil
  end
end

-- Dispatches that this script has recorded, and that are to be published.
local recorded = {}

-- What a worker is to run; false where it is recorded already.
local function record_dispatch(id, record)
  if redis.call('HSETNX', DISPATCHES, id, record) == 0 then
    return false
  end
  recorded[#recorded + 1] = id
  count('dispatched')
  return true
end

local function publish_recorded()
  call_with('RPUSH', READY, recorded)
end

-- A message as it stands in ARGV: id of a dispatch and its record, or '' and what a pump is to take.
local function send()
  local dispatch_id, record = arg(), arg()
  if dispatch_id == '' then
    deliver('m', record)
  else
    record_dispatch(dispatch_id, record)
  end
end
