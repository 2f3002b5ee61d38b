-- Dispatches were run: each outcome goes where it is awaited, in the step that ends the dispatch.
-- ARGV: owner, then id and outcome of each. Returns 1 for each, or 0 where it came too late.
local owner = arg()
local ids, outcomes = {}, {}
while at < #ARGV do
  ids[#ids + 1], outcomes[#ids + 1] = arg(), arg()
end
local holders = redis.call('HMGET', CLAIMS, unpack(ids))
local found, done = {}, {}
for i, id in ipairs(ids) do
  if holders[i] == owner then
    done[#done + 1] = i
    found[i] = 1
  else
    found[i] = 0
  end
end
if #done > 0 then
  begin_though_full()
  for k, i in ipairs(done) do
    hand_over(ids[i], 'o', outcomes[i])
    done[k] = ids[i]
  end
  finish(done)
  count('completed', #done)
end
if #done < #ids then
  count('late_outcomes', #ids - #done)
end
return found
