-- Takes what may be published now, in batches of one listener each. ARGV: most unclaimed batches
-- per live pool process, most dispatches of this call, then each listener of which something is
-- known: how many of its dispatches one batch may have, and how many batches are enough for each
-- process. Returns 1 if there may be more to take, then listener and ids of each batch.
local window, most = numeric_arg(), numeric_arg()
local sizes, enough = {}, {}
while at < #ARGV do
  local listener = arg()
  sizes[listener], enough[listener] = numeric_arg(), numeric_arg()
end
local processes = math.max(live_processes(), 1)
local published = redis.call('ZCARD', PUBLISHED)

-- One batch more than is enough: for whoever comes while the next are on their way.
local function room_for(listener)
  local least = math.min(window, enough[listener] or window)
  return math.min(window * processes, least * processes + 1) - published
end

local room = window * processes - published
local head = room > 0 and redis.call('LINDEX', READY, 0)
if not head then
  return {0}
end
local kept_head = next(enough) and redis.call('HGET', DISPATCHES, head)
if kept_head then
  room = room_for(string.match(kept_head, '^[^\n]*'))
end
local largest = 1
for _, size in pairs(sizes) do
  largest = math.max(largest, size)
end
local wanted = math.min(most, room * largest)
local ids = room > 0 and redis.call('LPOP', READY, wanted)
if not ids then
  return {0}
end

-- No batch is so large that another process has nothing to do.
local share = math.ceil((#ids + redis.call('LLEN', READY)) / processes)
local kept, holders, known = kept_of(ids, SCRIPT_BYTES)
local batches, open, bytes, left, is_full = {}, {}, {}, {}, false
for i, id in ipairs(ids) do
  if i > known then
    left[#left + 1] = id
  elseif kept[i] and not holders[i] then
    local listener = string.match(kept[i], '^[^\n]*')
    -- One that was there when a process died must not take others with it.
    local is_suspect = has_deaths() and redis.call('HEXISTS', DEATHS, id) == 1
    local batch = not is_suspect and open[listener]
    if batch then
      batch[#batch + 1] = id
    elseif not is_full and #batches < room_for(listener) then
      batch = {listener, id}
      bytes[batch] = 0
      batches[#batches + 1] = batch
      room = room_for(listener)
      open[listener] = not is_suspect and batch or open[listener]
    else
      -- Nor does any begin one that came later: others would be overtaken for ever.
      is_full = true
      left[#left + 1] = id
    end
    if batch and batch == open[listener] then
      bytes[batch] = bytes[batch] + #kept[i]
      if #batch > math.min(sizes[listener] or 1, share) or bytes[batch] > BATCH_BYTES then
        open[listener] = nil
      end
    end
  end
end
put_first(left)

local may_be_more = #ids == wanted or known < #ids
local found = {may_be_more and not is_full and #batches < room and 1 or 0}
local moment = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
for i, batch in ipairs(batches) do
  local joined = table.concat(batch, ' ', 2)
  redis.call('ZADD', PUBLISHED, integer(moment + i), joined)
  found[#found + 1] = batch[1]
  found[#found + 1] = joined
end
return found
