-- What the mailbox's scripts share, after threads.lua. ARGV: prefix, 0 (what is open does not
-- expire), the real time to live in ms, most conversations kept closed, then each script's own.
--
-- A conversation is one hash: `o` open root scopes, `s<scope>` an open scope, `r<scope>` a root
-- scope's answer (empty: it ended without one), `g`, `n`, `k` and `a` a scatter, `t<thread>` a
-- thread it wrote to, `m<id>` a message id it was opened by, `h<id>` what one hop did. Hash and
-- threads end together; neither is in an index of threads.
--
-- Ending and reopening visit every field. So that they cost a conversation that goes on and on no
-- more each time, `r` and `h` of one with many move to a second hash as it is reopened: `e` tells so.
local real_ttl, keep_closed = tonumber(ARGV[3]), tonumber(ARGV[4])
local INBOX, GROUP = prefix .. 's:inbox', 'pump'
local OPEN, CLOSED = prefix .. 'i:open', prefix .. 'i:closed'
local READY, DELAYED = prefix .. 'l:ready', prefix .. 'i:delayed'
local DISPATCHES, COUNTS = prefix .. 'l:dispatches', prefix .. 'l:counts'
-- Ms that a pump may be out of reach and still be told which of its openings had come in.
local OPENINGS_KEPT = 600000
-- Fields of a conversation beyond which what it has done is set aside.
local MOST_FIELDS = 128

local at = 4
local function arg()
  at = at + 1
  return ARGV[at]
end

local function numeric_arg()
  return tonumber(arg())
end

-- In a turn, what is counted at its end.
local tally
local function count(what, by)
  if tally then
    tally[what] = (tally[what] or 0) + (by or 1)
  else
    redis.call('HINCRBY', COUNTS, what, by or 1)
  end
end

-- A command with any number of arguments, of which Lua can pass on some thousands at once.
local function call_with(command, key, arguments)
  for first = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, first, math.min(first + 999, #arguments)))
  end
end

-- The inbox is never without its group, or nobody would read what is in it.
local has_inbox = false
local function make_inbox()
  if not has_inbox and redis.call('EXISTS', INBOX) == 0 then
    redis.call('XGROUP', 'CREATE', INBOX, GROUP, '0', 'MKSTREAM')
  end
  has_inbox = true
end

local is_persistent = false
local function deliver(...)
  make_inbox()
  redis.call('XADD', INBOX, '*', ...)
  if not is_persistent then
    redis.call('PERSIST', INBOX)
    is_persistent = true
  end
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

-- Takes an entry out of the stream; false when somebody else has done so. A turn ends with their
-- deletion.
local acknowledged = {}
local function acknowledge(entry)
  if redis.call('XACK', INBOX, GROUP, entry) == 0 then
    count('duplicates')
    return false
  end
  acknowledged[#acknowledged + 1] = entry
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
-- What is to be written to its hash.
local fields = {}

local function enter(id)
  conversation, v = id, prefix .. 'v:' .. id
end

local function set_field(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end

local function save_fields()
  if #fields > 0 then
    call_with('HSET', v, fields)
    fields = {}
  end
end

-- Slots as they stand in ARGV: how many, then thread, chain and data of each.
local function read_slots()
  local slots = {}
  for i = 1, numeric_arg() do
    slots[i] = {arg(), arg(), arg()}
  end
  return slots
end

-- The thread that has no room for its slots, or nil; and the length of each list as it is.
local function full_thread(slots, max_slots)
  local lengths, sizes = {}, {}
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

local function remember(slots, lengths)
  for _, slot in ipairs(slots) do
    local id, chain, data = slot[1], slot[2], slot[3]
    if lengths[id] == 0 then
      redis.call('RPUSH', thread_key(id), '=' .. chain, data)
      set_field('t' .. id, '')
    else
      if lengths[id] and redis.call('HSETNX', v, 't' .. id, '') == 1 then
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

-- Scopes of this conversation that the command has touched: units, parent, gather, position,
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

local function set_scope(id, scope)
  set_field('s' .. id, cmsgpack.pack(scope))
end

local function save()
  for id, scope in pairs(scopes) do
    if scope then
      set_scope(id, scope)
    end
  end
  save_fields()
end

-- What the pump that runs this command is told of its own; others read it from their streams.
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

local function close_gather(gather)
  local gone = {'g' .. gather, 'n' .. gather, 'k' .. gather}
  for position = 0, tonumber(redis.call('HGET', v, 'k' .. gather) or 0) - 1 do
    gone[#gone + 1] = 'a' .. gather .. ':' .. position
  end
  call_with('HDEL', v, gone)
end

-- A root scope's answer, if it has one or has ended.
local function answer_of(scope)
  return redis.call('HGET', v, 'r' .. scope) or redis.call('HGET', elder_key(v), 'r' .. scope)
end

-- Gives a scope its first answer, false for none; returns whether it was the first.
local function answer_scope(id, answer)
  local scope = scope_of(id)
  if scope[PARENT] == '' then
    if not answer or redis.call('HSETNX', v, 'r' .. id, answer) == 0 then
      return not answer
    end
    scope[SETTLED] = 1
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

-- Threads whose conversation this script has ended, or forgotten.
local ended_threads, gone_threads = {}, {}

local function forget(id)
  local key = prefix .. 'v:' .. id
  local gone = {key, elder_key(key)}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
    if kind == 't' then
      gone[#gone + 1] = thread_key(rest)
      gone_threads[#gone_threads + 1] = rest
    elseif kind == 'm' then
      gone[#gone + 1] = prefix .. 'n:' .. rest
    end
  end
  for first = 1, #gone, 1000 do
    redis.call('DEL', unpack(gone, first, math.min(first + 999, #gone)))
  end
end

-- An ended conversation's keys begin to expire.
local has_closed = false
local function close_conversation()
  has_closed = true
  redis.call('ZREM', OPEN, conversation)
  redis.call('ZADD', CLOSED, integer(now), conversation)
  if real_ttl == 0 or keep_closed == 0 then
    return
  end
  redis.call('PEXPIRE', v, integer(real_ttl))
  for _, field in ipairs(redis.call('HKEYS', v)) do
    local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
    if kind == 't' then
      redis.call('PEXPIRE', thread_key(rest), integer(real_ttl))
      ended_threads[#ended_threads + 1] = rest
    elseif kind == 'm' then
      redis.call('PEXPIRE', prefix .. 'n:' .. rest, integer(real_ttl))
    elseif kind == 'e' then
      redis.call('PEXPIRE', elder_key(v), integer(real_ttl))
    end
  end
end

-- Some of them may stand in an index all the same: somebody has linked them to another chain.
local function index_threads(ids, ends)
  for _, index in ipairs({THREADS, LINKS}) do
    if #ids > 0 and redis.call('EXISTS', index) == 1 then
      local rows = {}
      for i, id in ipairs(ids) do
        rows[2 * i - 1], rows[2 * i] = integer(ends), id
      end
      for first = 1, #rows, 1000 do
        redis.call('ZADD', index, 'XX', unpack(rows, first, math.min(first + 999, #rows)))
      end
      changed[index] = true
    end
  end
end

-- What is beyond the number of closed conversations kept goes at once.
local function keep_the_newest()
  expire_if_ends(CLOSED)
  local too_many = redis.call('ZCARD', CLOSED) - keep_closed
  if too_many > 0 then
    local oldest = redis.call('ZPOPMIN', CLOSED, too_many)
    for i = 1, #oldest, 2 do
      forget(oldest[i])
    end
  end
  index_threads(ended_threads, now + real_ttl)
  for _, index in ipairs({THREADS, LINKS}) do
    if #gone_threads > 0 and redis.call('EXISTS', index) == 1 then
      call_with('ZREM', index, gone_threads)
      changed[index] = true
    end
  end
end

-- No scope is open, so no answer will be asked for to be changed.
local function set_aside(names)
  local moved, values = {}, {}
  for _, field in ipairs(names) do
    local kind = string.sub(field, 1, 1)
    if kind == 'r' or kind == 'h' then
      moved[#moved + 1] = field
      values[#values + 1] = field
      values[#values + 1] = redis.call('HGET', v, field)
    end
  end
  if #moved > 0 then
    call_with('HSET', elder_key(v), values)
    call_with('HDEL', v, moved)
    redis.call('HSET', v, 'e', '')
  end
end

-- Opens a root scope; true when it opened its conversation, or opened it again.
local function begin_scope(id, units, pump)
  set_scope(id, {units, '', '', 0, pump, 0})
  if redis.call('HINCRBY', v, 'o', 1) > 1 then
    return false
  end
  redis.call('ZADD', OPEN, integer(now), conversation)
  if redis.call('ZREM', CLOSED, conversation) == 1 then
    redis.call('PERSIST', v)
    redis.call('PERSIST', elder_key(v))
    local threads, names = {}, redis.call('HKEYS', v)
    if #names > MOST_FIELDS then
      set_aside(names)
    end
    for _, field in ipairs(names) do
      local kind, rest = string.sub(field, 1, 1), string.sub(field, 2)
      if kind == 't' then
        threads[#threads + 1] = rest
        redis.call('PERSIST', thread_key(rest))
      elseif kind == 'm' then
        redis.call('PERSIST', prefix .. 'n:' .. rest)
      end
    end
    index_threads(threads, NEVER)
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
      if scope[SETTLED] == 0 then
        redis.call('HSETNX', v, 'r' .. id, '')
      end
      tell(scope[PUMPS], 'closed', id, '')
      has_ended = redis.call('HINCRBY', v, 'o', -1) == 0
    end
    id = scope[PARENT]
  end
  save()
  if has_ended then
    close_conversation()
    news[#news + 1] = 'ended'
    news[#news + 1] = conversation
    news[#news + 1] = ''
  end
end

-- What a turn may hold, by name, and where the arguments of the one that runs end.
local commands, last = {}, 0
-- By pump, the number of the opening before which it has all replies.
local replied_before = {}

local function begin_command()
  conversation, v, me = nil, nil, nil
  fields, scopes, closed_scopes, news = {}, {}, {}, {}
end
