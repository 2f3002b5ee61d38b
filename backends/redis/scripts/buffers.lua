-- What the scripts on threads share, after folded.lua.
-- A little later than asked for, so that not every write has to move it.
local fresh_end = ttl > 0 and now + ttl + math.floor(ttl / 64) or NEVER
-- Threads whose key this script has made.
local is_made = {}

local function count_slots(id)
  return math.max(redis.call('LLEN', thread_key(id)) - 1, 0)
end

-- The chain that the newest hop was called from; chains.py says how markers are skipped.
local function caller_of(chain)
  repeat
    chain = string.match(chain, '^(.*)%.[^.]*$')
  until not chain or not (string.find(chain, '^[@#][^.]*$') or string.find(chain, '%.[@#][^.]*$'))
  return chain ~= '' and chain or nil
end

local function put_in(index, id, ends)
  redis.call('ZADD', index, integer(ends), id)
  changed[index] = true
end

-- The threads of a conversation stand in its hash, and in no index. Returns how many fields it has.
local function each_thread_of(hash, visit)
  local names = redis.call('HKEYS', hash)
  for _, name in ipairs(names) do
    if string.sub(name, 1, 1) == 't' then
      visit(string.sub(name, 2))
    end
  end
  return #names
end


-- What a conversation has ends together: not while it is open, and not before what is written now.
local function refresh_conversation(hash)
  local left = redis.call('PTTL', hash)
  if left >= 0 and now + left < fresh_end then
    expire_at(hash, fresh_end)
    expire_at(elder_key(hash), fresh_end)
    each_thread_of(hash, function(id)
      expire_at(thread_key(id), fresh_end)
    end)
  end
end

-- When a thread written now ends: after its time to live, or later if it lives longer already.
local function end_of(id)
  local known = redis.call('ZSCORE', LINKS, id) or redis.call('ZSCORE', THREADS, id)
  if not known and not is_made[id] and redis.call('PTTL', thread_key(id)) == -1 then
    -- A conversation's, linked to another chain meanwhile.
    known = NEVER
  end
  return math.max(fresh_end, tonumber(known or 0))
end

local function refresh(id, chain, has_slots)
  local hash = chain and conversation_key(chain)
  if hash and redis.call('HEXISTS', hash, 't' .. id) == 1 then
    refresh_conversation(hash)
    return
  end
  local ends = end_of(id)
  expire_at(thread_key(id), ends)
  if has_slots then
    put_in(THREADS, id, ends)
  end
  if chain then
    put_in(LINKS, id, ends)
    expire_at(chain_key(chain), ends)
  end
end

local function refresh_callers(chain)
  local hash = conversation_key(chain)
  if hash then
    refresh_conversation(hash)
  end
  local caller = caller_of(chain)
  while caller do
    local id = redis.call('GET', chain_key(caller))
    if id and redis.call('ZADD', LINKS, 'XX', 'GT', 'CH', integer(fresh_end), id) == 1 then
      redis.call('ZADD', THREADS, 'XX', 'GT', integer(fresh_end), id)
      changed[THREADS] = true
      expire_at(thread_key(id), fresh_end)
      expire_at(chain_key(caller), fresh_end)
    end
    caller = caller_of(caller)
  end
end

local function drop_slots(id)
  take_from(THREADS, id)
  if chain_of(id) then
    redis.call('LTRIM', thread_key(id), 0, 0)
  else
    redis.call('DEL', thread_key(id))
  end
end

local function unlink(id, chain)
  redis.call('DEL', chain_key(chain))
  take_from(LINKS, id)
  if count_slots(id) > 0 then
    redis.call('LSET', thread_key(id), 0, '')
  else
    redis.call('DEL', thread_key(id))
  end
end

-- *derived*: the id that the chain stands for inside a conversation, or ''.
local function link(id, chain, derived)
  local known = chain_of(id)
  if known == chain then
    return
  end
  local former = redis.call('GET', chain_key(chain))
  if not former and derived ~= '' and chain_of(derived) == chain then
    former = derived
  end
  if former then
    unlink(former, chain)
  end
  if known then
    redis.call('DEL', chain_key(known))
  end
  if redis.call('EXISTS', thread_key(id)) == 1 then
    redis.call('LSET', thread_key(id), 0, '=' .. chain)
  else
    redis.call('RPUSH', thread_key(id), '=' .. chain)
    is_made[id] = true
    take_from(THREADS, id)
  end
  redis.call('SET', chain_key(chain), id)
end

-- Every thread of every conversation, and whether that one is folded.
local function each_conversation_thread(visit)
  for _, index in ipairs({OPEN, prefix .. 'i:closed'}) do
    for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
      if each_thread_of(conversation_hash(id), visit) == 0 and folded(id) then
        visit(id, true)
      end
    end
  end
end
