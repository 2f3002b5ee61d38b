-- Conversations that are nothing yet but their first message; after threads.lua.
--
-- Such a one is *folded*: it has no key of its own, and stands in that message's stream entry, as `l`
-- its chain, `p` the pump that awaits its answer, and `d` its slot. `i:open` says in which: by the
-- entry's milliseconds and, as a fraction, its number among these. Whoever wants more of it than
-- that it is open unfolds it first.
local INBOX, OPEN = prefix .. 's:inbox', prefix .. 'i:open'
-- Numbers that fit into a double beside a moment in ms.
local NUMBERS = 4096

local function conversation_hash(id)
  return prefix .. 'v:' .. id
end

local function first_scope(pump)
  return {1, '', '', 0, pump, 0}
end

-- The place in `i:open` that leads to an entry; nil where none does.
local function place_of(entry)
  local ms, number = string.match(entry, '^(%d+)-(%d+)$')
  if tonumber(number) < NUMBERS then
    return string.format('%.17g', tonumber(ms) + tonumber(number) / NUMBERS)
  end
end

-- What is in the entry of a folded conversation, by field; nil where it is none.
local function folded(id)
  -- Workers may not look: to them it begins when a pump has taken it.
  local place = redis.pcall('ZSCORE', OPEN, id)
  if type(place) ~= 'string' or redis.call('EXISTS', conversation_hash(id)) == 1 then
    return nil
  end
  local ms = math.floor(tonumber(place))
  local entry = integer(ms) .. '-' .. integer((tonumber(place) - ms) * NUMBERS)
  local found = redis.call('XRANGE', INBOX, entry, entry)[1]
  local fields = {}
  for i = 1, found and #found[2] or 0, 2 do
    fields[found[2][i]] = found[2][i + 1]
  end
  local is_its_own = fields.l and conversation_key(fields.l) == conversation_hash(id)
  return is_its_own and fields.d and fields.p and fields or nil
end

-- Writes the thread of a folded conversation; before what somebody has written to it unasked.
local function unfold_thread(id, chain, slot)
  local key, link = thread_key(id), '=' .. chain
  if redis.call('LPOP', key) then
    redis.call('LPUSH', key, slot, link)
    redis.call('PERSIST', key)
    take_from(THREADS, id)
    take_from(LINKS, id)
  else
    redis.call('RPUSH', key, link, slot)
  end
end

-- Gives a folded conversation keys of its own; false where it is none.
local function unfold(id)
  local first = folded(id)
  if not first then
    return false
  end
  unfold_thread(id, first.l, first.d)
  redis.call('HSET', conversation_hash(id), 'o', 1, 't' .. id, '',
    's' .. id, cmsgpack.pack(first_scope(first.p)))
  return true
end
