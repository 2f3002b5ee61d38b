-- What the mailbox's scripts share, after folded.lua. ARGV: prefix, 0 (what is open does not
-- expire), the real time to live in ms, most conversations kept closed, then each script's own.
--
-- A conversation that is more than its first message is one hash: `o` open root scopes, `s<scope>`
-- an open scope, `r<scope>` a root scope's answer (empty: it ended without one), `g`, `n`, `k` and
-- `a` a scatter, `t<thread>` a thread it wrote to, `m<id>` a message id it was opened by, `h<id>` what
-- came of one message; `x` where there is another thread than its own, an `m` or an `e`. Hash and
-- threads end together; neither is in an index of threads.
--
-- Ending and reopening visit every field. So that they cost a conversation that goes on and on no
-- more each time, `r` and `h` of one with many move to a second hash as it is reopened: `e` tells so.
local real_ttl, keep_closed = tonumber(ARGV[3]), tonumber(ARGV[4])
local GROUP, CLOSED = 'pump', prefix .. 'i:closed'
local READY, DELAYED = prefix .. 'l:ready', prefix .. 'i:delayed'
local DISPATCHES, COUNTS = prefix .. 'l:dispatches', prefix .. 'l:counts'
-- Ms that a pump may be out of reach and still be told which of its openings had come in.
local OPENINGS_KEPT = 600000
-- Ms that the counts are kept at least: two of the longest pauses between beats, and more.
local COUNTS_KEPT = 5000
-- Fields of a conversation beyond which what it has done is set aside.
local MOST_FIELDS = 128

-- What Redis has against writing more, as its own error, or nil. Before a script's first write.
local function shortage()
  local reply = redis.pcall('ZADD', prefix .. 'i:alive', 'XX', 0, '')
  return type(reply) == 'table' and reply.err and reply or nil
end

-- What is at work goes on though memory is full, or none would ever be freed: Redis refuses a script
-- its first write alone, and none that only deletes.
local function begin_though_full()
  -- No worker has an empty name.
  redis.call('DEL', prefix .. 'w:')
end

local at = 4
local function arg()
  at = at + 1
  return ARGV[at]
end

local function numeric_arg()
  return tonumber(arg())
end

-- Beats of pumps put the end of the counts off, at least once in COUNTS_KEPT; there may be none any
-- more.
local function add_to_counts(what, by)
  local is_first = redis.call('HINCRBY', COUNTS, what, by) == by
  if is_first and real_ttl > 0 and redis.call('PTTL', COUNTS) == -1 then
    redis.call('PEXPIRE', COUNTS, integer(math.max(real_ttl, COUNTS_KEPT)))
  end
end

-- In a turn, what is counted at its end.
local tally
local function count(what, by)
  if tally then
    tally[what] = (tally[what] or 0) + (by or 1)
  else
    add_to_counts(what, by or 1)
  end
end

-- A command with any number of arguments, of which Lua can pass on some thousands at once.
local function call_with(command, key, arguments)
  for first = 1, #arguments, 1000 do
    local last = math.min(first + 999, #arguments)
    if key then
      redis.call(command, key, unpack(arguments, first, last))
    else
      redis.call(command, unpack(arguments, first, last))
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
  local entry = redis.call('XADD', INBOX, '*', ...)
  if not is_persistent then
    redis.call('PERSIST', INBOX)
    is_persistent = true
  end
  return entry
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
