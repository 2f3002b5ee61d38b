-- Dispatches were run: each outcome goes where it is awaited, in the step that ends the dispatch.
-- ARGV: owner, then id and outcome of each. Returns 1 for each, or 0 where it came too late.
local owner = arg()
local ids, outcomes = {}, {}
while at < #ARGV do
  ids[#ids + 1], outcomes[#ids + 1] = arg(), arg()
end
local holders = redis.call('HMGET', CLAIMS, unpack(ids))
local found, late = {}, 0
for i, id in ipairs(ids) do
  if holders[i] == owner then
    finish(id, 'o', outcomes[i])
    found[i] = 1
  else
    late = late + 1
    found[i] = 0
  end
end
if late < #ids then
  count('completed', #ids - late)
end
if late > 0 then
  count('late_outcomes', late)
end
return found
