-- What the mailbox's scripts share, after threads.lua. ARGV: prefix, 0 (what is open does not
-- expire), the real time to live in ms, most conversations kept closed, then each script's own.
--
-- A conversation is one hash: `o` open root scopes, `s<scope>` an open scope, `r<scope>` a root
-- scope's answer (empty: it ended without one), `g`, `n`, `k` and `a` a scatter, `t<thread>` a
-- thread it wrote to, `m<id>` a message id it was opened by, `h<id>` what came of one message. Hash and
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
local function call_with(command, key, arguments, option)
  for first = 1, #arguments, 1000 do
    local last = math.min(first + 999, #arguments)
    if option then
      redis.call(command, key, option, unpack(arguments, first, last))
    else
      redis.call(command, key, unpack(arguments, first, last))
    end
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
-- Its hash as the command sees it: what it asks for is read once, what it changes is written at its
-- end. False stands for no such field.
local known, is_changed = {}, {}

local function enter(id)
  conversation, v = id, prefix .. 'v:' .. id
  known, is_changed = {}, {}
end

local function expect_fields(names)
  local values = redis.call('HMGET', v, unpack(names))
  for i, name in ipairs(names) do
    known[name] = values[i]
  end
end

local function field(name)
  if known[name] == nil then
    known[name] = redis.call('HGET', v, name)
  end
  return known[name]
end

local function set_field(name, value)
  known[name], is_changed[name] = value, true
end

local function save_fields()
  local written, gone = {}, {}
  for name in pairs(is_changed) do
    if known[name] then
      written[#written + 1], written[#written + 2] = name, known[name]
    else
      gone[#gone + 1] = name
    end
  end
  call_with('HSET', v, written)
  call_with('HDEL', v, gone)
  is_changed = {}
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
      if lengths[id] and not field('t' .. id) then
        set_field('t' .. id, '')
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

-- Open scopes of this conversation that the command has touched: units, parent, gather, position,
-- pumps that wait for it, settled.
local scopes = {}
local UNITS, PARENT, GATHER, POSITION, PUMPS, SETTLED = 1, 2, 3, 4, 5, 6

local function scope_of(id)
  if scopes[id] == nil then
    local raw = field('s' .. id)
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
  for position = 0, tonumber(field('k' .. gather) or 0) - 1 do
    set_field('a' .. gather .. ':' .. position, false)
  end
  for _, kind in ipairs({'g', 'n', 'k'}) do
    set_field(kind .. gather, false)
  end
end

-- A root scope's answer, if it has one or has ended.
local function answer_of(scope)
  return field('r' .. scope) or redis.call('HGET', elder_key(v), 'r' .. scope)
end

-- Gives a scope its first answer, false for none; returns whether it was the first.
local function answer_scope(id, answer)
  local scope = scope_of(id)
  if scope[PARENT] == '' then
    if not answer or field('r' .. id) then
      return not answer
    end
    set_field('r' .. id, answer)
    tell(scope[PUMPS], 'answered', id, answer)
    return true
  end
  if scope[SETTLED] == 1 then
    return false
  end
  scope[SETTLED] = 1
  local gather = scope[GATHER]
  if answer then
    set_field('a' .. gather .. ':' .. scope[POSITION], answer)
  end
  local left = tonumber(field('n' .. gather)) - 1
  set_field('n' .. gather, left)
  if left == 0 then
    add_unit(scope[PARENT])
    deliver('g', gather, 'c', conversation)
  end
  return true
end

-- What has become of conversations, for their indexes at the end of the script.
local is_open = {}
-- Threads of those that have ended, or are forgotten; keys of the latter.
local ended_threads, gone_threads, gone_keys = {}, {}, {}

-- Each thread of a conversation, each message id it was opened by, and what has been set aside of
-- it; returns the fields seen.
local function each_part(hash, visit)
  local names = redis.call('HKEYS', hash)
  for _, name in ipairs(names) do
    local kind, rest = string.sub(name, 1, 1), string.sub(name, 2)
    if kind == 't' then
      visit(thread_key(rest), rest)
    elseif kind == 'm' then
      visit(prefix .. 'n:' .. rest)
    elseif kind == 'e' then
      visit(elder_key(hash))
    end
  end
  return names
end

-- Sets aside what a conversation has done; no scope of it is open, so no answer can change.
local function set_aside(names)
  local moved, written = {}, {}
  for _, name in ipairs(names) do
    local kind = string.sub(name, 1, 1)
    if kind == 'r' or kind == 'h' then
      moved[#moved + 1] = name
      written[#written + 1], written[#written + 2] = name, redis.call('HGET', v, name)
    end
  end
  if #moved > 0 then
    call_with('HSET', elder_key(v), written)
    call_with('HDEL', v, moved)
    set_field('e', '')
  end
end

local function forget(id)
  local hash = prefix .. 'v:' .. id
  gone_keys[#gone_keys + 1] = hash
  each_part(hash, function(key, thread)
    gone_keys[#gone_keys + 1] = key
    gone_threads[#gone_threads + 1] = thread
  end)
end

-- An ended conversation's keys begin to expire.
local function close_conversation()
  is_open[conversation] = false
  if real_ttl == 0 or keep_closed == 0 then
    return
  end
  redis.call('PEXPIRE', v, integer(real_ttl))
  each_part(v, function(key, thread)
    redis.call('PEXPIRE', key, integer(real_ttl))
    ended_threads[#ended_threads + 1] = thread
  end)
end

-- Threads in an index all the same: somebody has linked them to another chain.
local function index_threads(threads, ends)
  for _, index in ipairs({THREADS, LINKS}) do
    if #threads > 0 and redis.call('EXISTS', index) == 1 then
      if ends then
        local rows = {}
        for i, id in ipairs(threads) do
          rows[2 * i - 1], rows[2 * i] = integer(ends), id
        end
        call_with('ZADD', index, rows, 'XX')
      else
        call_with('ZREM', index, threads)
      end
      changed[index] = true
    end
  end
end

-- Opens a root scope; true when it opened its conversation, or opened it again.
local function begin_scope(id, units, pump)
  set_scope(id, {units, '', '', 0, pump, 0})
  local count_before = field('o')
  set_field('o', tonumber(count_before or 0) + 1)
  if tonumber(count_before or 0) > 0 then
    return false
  end
  is_open[conversation] = true
  if count_before then
    local threads = {}
    redis.call('PERSIST', v)
    redis.call('ZREM', CLOSED, conversation)
    local names = each_part(v, function(key, thread)
      redis.call('PERSIST', key)
      threads[#threads + 1] = thread
    end)
    index_threads(threads, NEVER)
    if #names > MOST_FIELDS then
      set_aside(names)
    end
  end
  return true
end

-- Ends every script that opens or closes conversations. What is beyond the number of closed ones
-- kept goes at once.
local function index_conversations()
  local opened, ended, ended_rows = {}, {}, {}
  for id, is_still_open in pairs(is_open) do
    local rows = is_still_open and opened or ended_rows
    rows[#rows + 1], rows[#rows + 2] = integer(now), id
    if not is_still_open then
      ended[#ended + 1] = id
    end
  end
  call_with('ZADD', OPEN, opened)
  if #ended > 0 then
    call_with('ZREM', OPEN, ended)
    call_with('ZADD', CLOSED, ended_rows)
    expire_if_ends(CLOSED)
    local too_many = redis.call('ZCARD', CLOSED) - keep_closed
    local oldest = too_many > 0 and redis.call('ZPOPMIN', CLOSED, too_many) or {}
    for i = 1, #oldest, 2 do
      forget(oldest[i])
    end
  end
  for first = 1, #gone_keys, 1000 do
    redis.call('DEL', unpack(gone_keys, first, math.min(first + 999, #gone_keys)))
  end
  index_threads(ended_threads, now + real_ttl)
  index_threads(gone_threads)
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
    scopes[id] = false
    set_field('s' .. id, false)
    if scope[PARENT] == '' then
      if not field('r' .. id) then
        set_field('r' .. id, '')
      end
      tell(scope[PUMPS], 'closed', id, '')
      local left = tonumber(field('o')) - 1
      set_field('o', left)
      has_ended = left == 0
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
  known, is_changed, scopes, news = {}, {}, {}, {}
end
