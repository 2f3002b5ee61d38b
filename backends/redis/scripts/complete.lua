-- Dispatches were run: each outcome goes where it is awaited, in the step that ends the dispatch.
-- The process that ran them may go on with others, past the broker, where more wait than have been
-- published. ARGV: owner, listener and how many of its dispatches it would take, 1 if it asks again
-- for want of a reply, then id and outcome of each. Returns 1 for each outcome, or 0 where it came
-- too late, then id and record of each dispatch taken.
local owner, listener, wanted, is_again = arg(), arg(), numeric_arg(), arg() == '1'
local ids, outcomes = {}, {}
while at < #ARGV do
  ids[#ids + 1], outcomes[#outcomes + 1] = arg(), arg()
end
-- Nothing here changes what waits to be published, what is, or who is alive, before it is taken.
local waits, published, processes = backlog()
-- Whoever takes one of these publishes more, where hardly enough is on its way.
local has_more = is_short_of_published(waits, published, processes)
local holders = #ids > 0 and redis.call('HMGET', CLAIMS, unpack(ids))
local found, done = {}, {}
for i, id in ipairs(ids) do
  if holders[i] == owner then
    done[#done + 1] = i
    found[i] = 1
  else
    found[i] = 0
  end
end
begin_though_full()
if #done > 0 then
  for k, i in ipairs(done) do
    if has_more then
      hand_over(ids[i], 'o', outcomes[i], 'r', '1')
    else
      hand_over(ids[i], 'o', outcomes[i])
    end
    done[k] = ids[i]
  end
  finish(done)
  count('completed', #done)
end
if #done < #ids then
  count('late_outcomes', #ids - #done)
end

local function is_free(id, kept, holder)
  local is_its = kept and not holder and string.match(kept, '^[^\n]*') == listener
  -- One that was there when a process died runs alone.
  return is_its and not (has_deaths() and redis.call('HEXISTS', DEATHS, id) == 1)
end

-- Those at the head of the queue, oldest first, until one is none of the listener's; no more than
-- leaves as much for every other process.
local function take()
  local share = math.ceil(waits / math.max(1, processes))
  local heads = redis.call('LRANGE', READY, 0, math.min(wanted, share) - 1)
  local kept, claimed, known = kept_of(heads, BATCH_BYTES)
  local taken, claims, is_taken, size = {}, {}, {}, 0
  for i, id in ipairs(heads) do
    if i > known or size > BATCH_BYTES or is_taken[id] or not is_free(id, kept[i], claimed[i]) then
      break
    end
    taken[i], is_taken[id], size = id, true, size + #kept[i]
    claims[2 * i - 1], claims[2 * i] = id, owner
    found[#found + 1], found[#found + 2] = id, record_of(kept[i])
  end
  if #taken > 0 then
    call_with('HSET', CLAIMS, claims)
    call_with('HDEL', PARKED, taken)
    redis.call('LTRIM', READY, #taken, -1)
  end
end

if is_again then
  -- It took them, and was not told: whatever it holds still.
  local claims = redis.call('HGETALL', CLAIMS)
  for i = 1, #claims, 2 do
    if claims[i + 1] == owner then
      local kept = redis.call('HGET', DISPATCHES, claims[i])
      found[#found + 1], found[#found + 2] = claims[i], kept and record_of(kept) or ''
    end
  end
elseif wanted > 0 and #done == #ids and waits > published
  and processes_of(worker_of(owner)) > 0 then
  take()
end
return found
