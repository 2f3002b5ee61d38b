-- How conversations begin and end; after scopes.lua.
-- What has become of conversations, for their indexes at the end of the script: false where one has
-- ended, its place where it is folded.
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
    set_field('x', '')
  end
end

-- The same for most conversations, which are one thread, without looking at every field.
local function each_part_of(id, has_more, visit)
  if has_more then
    each_part(conversation_hash(id), visit)
  else
    visit(thread_key(id), id)
  end
end

local function forget(id)
  local hash = conversation_hash(id)
  gone_keys[#gone_keys + 1] = hash
  each_part_of(id, redis.call('HEXISTS', hash, 'x') == 1, function(key, thread)
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
  each_part_of(conversation, field('x'), function(key, thread)
    redis.call('PEXPIRE', key, integer(real_ttl))
    ended_threads[#ended_threads + 1] = thread
  end)
end

-- Threads in an index all the same: somebody has linked them to another chain.
local function index_threads(threads, ends)
  for _, index in ipairs({THREADS, LINKS}) do
    if #threads > 0 and redis.call('EXISTS', index) == 1 then
      local rows = ends and {} or threads
      for i, id in ipairs(ends and threads or {}) do
        rows[2 * i - 1], rows[2 * i] = integer(ends), id
      end
      for first = 1, #rows, 1000 do
        local last = math.min(first + 999, #rows)
        local found = ends and redis.call('ZADD', index, 'XX', 'CH', unpack(rows, first, last))
          or redis.call('ZREM', index, unpack(rows, first, last))
        -- Mostly none is in it, and then it needs no tidying.
        changed[index] = changed[index] or found > 0 or nil
      end
    end
  end
end

-- Unfolds the conversation that the command is about; what is in its hash is written at the command's
-- end.
local function unfold_into(chain, pump, slot)
  unfold_thread(conversation, chain, slot)
  scopes[conversation] = first_scope(pump)
  set_field('o', 1)
  set_field('t' .. conversation, '')
  is_new = true
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

-- To the microsecond: which of two ended first must not depend on their ids.
local function exactly_now()
  return string.format('%.3f', tonumber(clock[1]) * 1000 + tonumber(clock[2]) / 1000)
end

-- Ends every script that opens or closes conversations. What is beyond the number of closed ones
-- kept goes at once.
local function index_conversations()
  local opened, ended, ended_rows = {}, {}, {}
  for id, is_still_open in pairs(is_open) do
    if is_still_open then
      local place = type(is_still_open) == 'string' and is_still_open
      opened[#opened + 1], opened[#opened + 2] = place or integer(now), id
    else
      ended[#ended + 1] = id
      ended_rows[#ended_rows + 1], ended_rows[#ended_rows + 2] = exactly_now(), id
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
  call_with('DEL', nil, gone_keys)
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
