-- What the mailbox's scripts share, after threads.lua. ARGV: prefix, 0 (what is open does not
-- expire), the real time to live in ms, most conversations kept closed, then each script's own.
--
-- A conversation is one hash: `o` open root scopes, `s<scope>` an open scope, `r<scope>` a root
-- scope's answer (empty: it ended without one), `g`, `n`, `k` and `a` a scatter, `t<thread>` a
-- thread it wrote to, `m<id>` a message id it was opened by, `h<id>` what came of
-- one message.
local real_ttl, keep_closed = tonumber(ARGV[3]), tonumber(ARGV[4])
local INBOX, GROUP = prefix .. 's:inbox', 'pump'
local OPEN, CLOSED = prefix .. 'i:open', prefix .. 'i:closed'
local READY, DELAYED = prefix .. 'l:ready', prefix .. 'i:delayed'
local COUNTS = prefix .. 'l:counts'
-- Ms that a pump may be out of reach and still be told which of its openings had come in.
local OPENINGS_KEPT = 600000

local at = 4
local function arg()
  at = at + 1
  return ARGV[at]
end

local function numeric_arg()
  return tonumber(arg())
end

local function count(what, by)
  redis.call('HINCRBY', COUNTS, what, by or 1)
end

-- The inbox is never without its group, or nobody would read what is in it.
local has_inbox = false
local function make_inbox()
  if not has_inbox and redis.call('EXISTS', INBOX) == 0 then
    redis.call('XGROUP', 'CREATE', INBOX, GROUP, '0', 'MKSTREAM')
  end
  has_inbox = true
end

local function deliver(...)
  make_inbox()
  redis.call('XADD', INBOX, '*', ...)
  redis.call('PERSIST', INBOX)
end

-- What no pump or worker has taken yet.
local function waiting()
  local is_read = redis.call('EXISTS', INBOX) == 1
  local taken = is_read and redis.call('XPENDING', INBOX, GROUP)[1] or 0
  return redis.call('XLEN', INBOX) - taken + redis.call('LLEN', READY) + redis.call('ZCARD', DELAYED)
end

local function openings_of(pump)
  return prefix .. 'u:' .. pump
end

local function expire_if_ends(key)
  if real_ttl > 0 then
    redis.call('PEXPIRE', key, integer(real_ttl))
  end
end

-- Takes an entry out of the stream; false when somebody else has done so.
local function acknowledge(entry)
  if redis.call('XACK', INBOX, GROUP, entry) == 0 then
    count('duplicates')
    return false
  end
  redis.call('XDEL', INBOX, entry)
  if redis.call('XLEN', INBOX) == 0 then
    expire_if_ends(INBOX)
  end
  return true
end

local function quarantine(raw, most)
  local key = prefix .. 'l:quarantine'
  redis.call('LPUSH', key, raw)
  redis.call('LTRIM', key, 0, most - 1)
  expire_if_ends(key)
  count('refused')
end

local conversation, v

local function enter(id)
  conversation, v = id, prefix .. 'v:' .. id
end

-- Slots as they stand in ARGV: how many, then thread, chain and data of each.
local function read_slots()
  local slots = {}
  for i = 1, numeric_arg() do
    slots[i] = {arg(), arg(), arg()}
  end
  return slots
end

-- The thread that has no room for its slots, or nil.
local function full_thread(slots, max_slots)
  local sizes = {}
  for _, slot in ipairs(slots) do
    local id = slot[1]
    local size = sizes[id] or count_slots(id)
    if size >= max_slots then
      return id
    end
    sizes[id] = size + 1
  end
  return nil
end

local function keep(id)
  redis.call('PERSIST', thread_key(id))
  local chain = chain_of(id)
  if chain then
    put_in(LINKS, id, NEVER)
    redis.call('PERSIST', chain_key(chain))
  end
  if count_slots(id) > 0 then
    put_in(THREADS, id, NEVER)
  end
end

local function remember(slots)
  for _, slot in ipairs(slots) do
    local id, chain, data = slot[1], slot[2], slot[3]
    local is_new = redis.call('HSETNX', v, 't' .. id, '') == 1
    if is_new then
      link(id, chain)
    end
    local size = redis.call('RPUSH', thread_key(id), data)
    if size == 1 then
      -- Somebody deleted the thread meanwhile.
      redis.call('LPUSH', thread_key(id), '=' .. chain)
      is_new = true
    end
    if is_new or size == 2 then
      keep(id)
    end
  end
end

-- Scopes of this conversation that the script has touched: units, parent, gather, position,
-- pumps that wait for it, settled.
local scopes, closed_scopes = {}, {}
local UNITS, PARENT, GATHER, POSITION, PUMPS, SETTLED = 1, 2, 3, 4, 5, 6

local function scope_of(id)
  if scopes[id] == nil and not closed_scopes[id] then
    local raw = redis.call('HGET', v, 's' .. id)
    scopes[id] = raw and cmsgpack.unpack(raw) or false
  end
  return scopes[id]
end

local function save_scopes()
  for id, scope in pairs(scopes) do
    if scope then
      redis.call('HSET', v, 's' .. id, cmsgpack.pack(scope))
    end
  end
end

-- What the pump that runs this script is told of its own; others read it from their streams.
local me
local news = {}

local function tell(pumps, kind, scope, answer)
  for pump in string.gmatch(pumps, '[^ ]+') do
    if pump == me then
      news[#news + 1] = kind
      news[#news + 1] = scope
      news[#news + 1] = answer
    else
      redis.call('XADD', prefix .. 's:' .. pump, 'NOMKSTREAM', '*', 'k', kind, 's', scope, 'a', answer)
    end
  end
end

local function add_unit(id)
  local scope = scope_of(id)
  scope[UNITS] = scope[UNITS] + 1
end

-- Returns whether it was open.
local function close_gather(gather)
  local members = tonumber(redis.call('HGET', v, 'k' .. gather) or 0)
  if redis.call('HDEL', v, 'g' .. gather, 'n' .. gather, 'k' .. gather, 'p' .. gather) == 0 then
    return false
  end
  for position = 0, members - 1 do
    redis.call('HDEL', v, 'a' .. gather .. ':' .. position)
  end
  return true
end

-- Gives a scope its first answer, false for none; returns whether it was the first.
local function answer_scope(id, answer)
  local scope = scope_of(id)
  if scope[PARENT] == '' then
    if not answer or redis.call('HSETNX', v, 'r' .. id, answer) == 0 then
      return not answer
    end
    tell(scope[PUMPS], 'answered', id, answer)
    return true
  end
  if scope[SETTLED] == 1 then
    return false
  end
  scope[SETTLED] = 1
  local gather = scope[GATHER]
  if answer then
    redis.call('HSET', v, 'a' .. gather .. ':' .. scope[POSITION], answer)
  end
  if redis.call('HINCRBY', v, 'n' .. gather, -1) == 0 then
    add_unit(scope[PARENT])
    deliver('g', gather, 'c', conversation)
  end
  return true
end

local function forget(id)
  local key = prefix .. 'v:' .. id
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
    if kind == 't' then
      local chain = chain_of(rest)
      if chain and redis.call('GET', chain_key(chain)) == rest then
        redis.call('DEL', chain_key(chain))
      end
      redis.call('DEL', thread_key(rest))
      take_from(THREADS, rest)
      take_from(LINKS, rest)
    elseif kind == 'm' then
      redis.call('DEL', prefix .. 'n:' .. rest)
    end
  end
  redis.call('DEL', key)
end

-- An ended conversation's keys begin to expire; what is beyond the number kept goes at once.
local function close_conversation()
  redis.call('ZREM', OPEN, conversation)
  redis.call('ZADD', CLOSED, integer(now), conversation)
  expire_if_ends(CLOSED)
  if real_ttl > 0 and keep_closed > 0 then
    redis.call('PEXPIRE', v, integer(real_ttl))
    for _, field in ipairs(redis.call('HKEYS', v)) do
      local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
      if kind == 't' then
        redis.call('PEXPIRE', thread_key(rest), integer(real_ttl))
        redis.call('ZADD', THREADS, 'XX', integer(now + real_ttl), rest)
        redis.call('ZADD', LINKS, 'XX', integer(now + real_ttl), rest)
        local chain = chain_of(rest)
        if chain then
          redis.call('PEXPIRE', chain_key(chain), integer(real_ttl))
        end
      elseif kind == 'm' then
        redis.call('PEXPIRE', prefix .. 'n:' .. rest, integer(real_ttl))
      end
    end
    changed[THREADS], changed[LINKS] = true, true
  end
  while redis.call('ZCARD', CLOSED) > keep_closed do
    forget(redis.call('ZPOPMIN', CLOSED)[1])
  end
end

-- Opens a root scope; true when it opened its conversation, or opened it again.
local function begin_scope(id, units, pump)
  redis.call('HSET', v, 's' .. id, cmsgpack.pack({units, '', '', 0, pump, 0}))
  if redis.call('HINCRBY', v, 'o', 1) > 1 then
    return false
  end
  redis.call('ZADD', OPEN, integer(now), conversation)
  if redis.call('ZREM', CLOSED, conversation) == 1 then
    redis.call('PERSIST', v)
    for _, field in ipairs(redis.call('HKEYS', v)) do
      local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
      if kind == 't' then
        keep(rest)
      elseif kind == 'm' then
        redis.call('PERSIST', prefix .. 'n:' .. rest)
      end
    end
  end
  return true
end

-- Takes one unit off a scope; at zero closes it, and so on upwards.
local function release(id)
  local has_ended = false
  while id ~= '' do
    local scope = scope_of(id)
    scope[UNITS] = scope[UNITS] - 1
    if scope[UNITS] > 0 then
      break
    end
    answer_scope(id, false)
    scopes[id], closed_scopes[id] = nil, true
    redis.call('HDEL', v, 's' .. id)
    if scope[PARENT] == '' then
      redis.call('HSETNX', v, 'r' .. id, '')
      tell(scope[PUMPS], 'closed', id, '')
      has_ended = redis.call('HINCRBY', v, 'o', -1) == 0
    end
    id = scope[PARENT]
  end
  save_scopes()
  if has_ended then
    close_conversation()
    news[#news + 1] = 'ended'
    news[#news + 1] = conversation
    news[#news + 1] = ''
  end
end
