-- What the ledger's scripts share, after living.lua. A dispatch is recorded (its id in
-- `l:ready`), published (in `l:published`), claimed (in `l:claims`, by worker and process) or gone;
-- its listener, a line feed and its record are in `l:dispatches` until then. What is published
-- travels in batches: ids of one listener, joined by spaces, are one member of `l:published`.
local CLAIMS = prefix .. 'l:claims'
local PARKED = prefix .. 'l:parked'
local DEATHS, MARK = prefix .. 'l:deaths', prefix .. 'l:mark'
local STREAMS = prefix .. 'l:streams'
local SERVICE = prefix .. 'l:service'
-- Leases outlive their owners by this much, so that somebody is left to notice.
local LEASES_KEPT = 60

-- Wakes one pump, if there is anything to publish.
local function nudge()
  if redis.call('LLEN', READY) > 0 then
    deliver('w', '')
  end
end

-- A table that was packed; nothing where somebody else wrote what can't be read, for one record
-- must not keep the sweep from all others.
local function unpacked(raw)
  local is_read, found = pcall(cmsgpack.unpack, raw)
  return is_read and type(found) == 'table' and found or nil
end

-- How many wait to be published, and where any do how many batches are and how many processes live.
local function backlog()
  local waits = redis.call('LLEN', READY)
  if waits == 0 then
    return 0, 0, 0
  end
  return waits, redis.call('ZCARD', PUBLISHED), live_processes()
end

-- Does more wait, though not even one batch for each process and one more are published? It is not
-- for every outcome to have that looked at.
local function is_short_of_published(waits, published, processes)
  return waits > 0 and published <= processes
end

local function worker_of(owner)
  return string.match(owner, '^([^/]*)')
end

-- Is there a live worker that runs handlers with this fingerprint?
local function can_run(fingerprint)
  for _, worker in ipairs(live_workers()) do
    if redis.call('HEXISTS', worker_key(worker), 'f' .. fingerprint) == 1 then
      return true
    end
  end
  return false
end

local function split(joined)
  local ids = {}
  for id in string.gmatch(joined, '[^ ]+') do
    ids[#ids + 1] = id
  end
  return ids
end

-- Puts ids before all that wait to be published, in their order.
local function put_first(ids)
  local reversed = {}
  for i = #ids, 1, -1 do
    reversed[#reversed + 1] = ids[i]
  end
  call_with('LPUSH', READY, reversed)
end

local function record_of(kept)
  -- Without a line feed it is none of ours; that is for whoever opens it to say.
  return string.sub(kept, (string.find(kept, '\n', 1, true) or 0) + 1)
end

-- Bytes of records in one batch, and read by one script, beyond which there is no further one.
local BATCH_BYTES, SCRIPT_BYTES = 4 * 1024 * 1024, 16 * 1024 * 1024
-- What is kept of some dispatches, and who holds them: of the first of *ids*, if all together have too
-- many bytes. Records are read some at a time, for each of them may be large.
local function kept_of(ids, most_bytes)
  local kept, holders, size = {}, {}, 0
  for first = 1, #ids, 20 do
    local last = math.min(first + 19, #ids)
    local some = redis.call('HMGET', DISPATCHES, unpack(ids, first, last))
    local owners = redis.call('HMGET', CLAIMS, unpack(ids, first, last))
    for i = first, last do
      kept[i], holders[i] = some[i - first + 1], owners[i - first + 1]
      size = size + #(kept[i] or '')
    end
    if size > most_bytes then
      return kept, holders, last
    end
  end
  return kept, holders, #ids
end

-- What is mostly empty is asked once.
local some_deaths, some_streams
local function has_deaths()
  some_deaths = some_deaths or redis.call('EXISTS', DEATHS)
  return some_deaths == 1
end

local function has_streams()
  some_streams = some_streams or redis.call('EXISTS', STREAMS)
  return some_streams == 1
end

-- What came of a dispatch goes to the stream that awaits it, or to any pump.
local function hand_over(id, ...)
  local stream = has_streams() and redis.call('HGET', STREAMS, id)
  if stream then
    redis.call('HDEL', STREAMS, id)
    redis.call('XADD', prefix .. 's:' .. stream, 'NOMKSTREAM', '*', 'i', id, ...)
  else
    deliver('i', id, ...)
  end
  if has_deaths() then
    redis.call('HDEL', DEATHS, id)
  end
end

local function finish(ids)
  call_with('HDEL', CLAIMS, ids)
  call_with('HDEL', DISPATCHES, ids)
end

-- Ends a dispatch that no worker will finish.
local function give_up(id, reason, history)
  redis.call('HDEL', PARKED, id)
  hand_over(id, 'x', record_of(redis.call('HGET', DISPATCHES, id)), 'y', reason, 'h', history)
  finish({id})
end

-- Puts what dead processes had claimed back; counted where `is_culprit` says so. One that has
-- killed too many is given up. A death is told as where that process ran, and how it ended.
local function bury(is_dead, is_culprit, max_attempts, place_of)
  local found, again = 0, {}
  local claims = redis.call('HGETALL', CLAIMS)
  for i = 1, #claims, 2 do
    local id, owner = claims[i], claims[i + 1]
    if is_dead(owner) then
      found = found + 1
      redis.call('HDEL', CLAIMS, id)
      local history = {}
      if is_culprit(id, owner) then
        local raw = redis.call('HGET', DEATHS, id)
        history = raw and unpacked(raw) or {}
        history[#history + 1] = {place_of(owner), integer(now)}
        redis.call('HSET', DEATHS, id, cmsgpack.pack(history))
        some_deaths = 1
      end
      if #history >= max_attempts then
        give_up(id, 'killed', cmsgpack.pack(history))
      else
        again[#again + 1] = id
      end
    end
  end
  put_first(again)
  if found > 0 then
    count('taken_over', found)
  end
  return found
end

-- Publishes again what nobody has claimed; the claim makes copies harmless.
local function publish_again(latest)
  local batches = redis.call('ZRANGEBYSCORE', PUBLISHED, '-inf', latest, 'LIMIT', 0, 4000)
  local found = 0
  for i = #batches, 1, -1 do
    redis.call('ZREM', PUBLISHED, batches[i])
    local ids = split(batches[i])
    put_first(ids)
    found = found + #ids
  end
  if found > 0 then
    count('published_again', found)
  end
  return found
end

local function bury_worker(worker, is_counted, max_attempts)
  -- Workers of earlier versions tell none; nor does one whose lease is forgotten.
  local host = redis.call('HGET', worker_key(worker), 'host')
  redis.call('ZREM', ALIVE, 'w:' .. worker)
  redis.call('DEL', worker_key(worker))
  local function is_dead(owner)
    return worker_of(owner) == worker
  end
  local function place_of(owner)
    return host and host .. ':' .. string.sub(owner, #worker + 2) or owner
  end
  local found = bury(is_dead, function() return is_counted end, max_attempts, place_of)
  return found + publish_again('+inf')
end

-- What is about to be another entry leads nowhere any more.
local function unfold_entry(fields)
  for i = 1, #fields, 2 do
    local hash = fields[i] == 'l' and conversation_key(fields[i + 1])
    if hash then
      unfold(string.sub(hash, #conversation_hash('') + 1))
    end
  end
end

-- Gives the entries a pump holds to whoever takes next.
local function bury_pump(pump)
  redis.call('ZREM', ALIVE, 'p:' .. pump)
  redis.call('HDEL', SERVICE, 'k' .. pump)
  redis.call('DEL', prefix .. 's:' .. pump)
  if redis.call('EXISTS', INBOX) == 0 then
    return 0
  end
  local found = 0
  while true do
    local pending = redis.call('XPENDING', INBOX, GROUP, '-', '+', 100, pump)
    for _, row in ipairs(pending) do
      local entry = redis.call('XRANGE', INBOX, row[1], row[1])[1]
      if entry then
        unfold_entry(entry[2])
        deliver(unpack(entry[2]))
        found = found + 1
      end
      redis.call('XACK', INBOX, GROUP, row[1])
      redis.call('XDEL', INBOX, row[1])
    end
    if #pending < 100 then
      break
    end
  end
  redis.call('XGROUP', 'DELCONSUMER', INBOX, GROUP, pump)
  if found > 0 then
    count('taken_over', found)
  elseif redis.call('XLEN', INBOX) == 0 then
    expire_if_ends(INBOX)
  end
  return found
end
