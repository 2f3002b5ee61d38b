-- A dispatch was run: its outcome goes where it is awaited, in the step that ends it. ARGV: owner,
-- id, outcome. Returns 1, or 0 when it came too late.
local owner, id, outcome = arg(), arg(), arg()
if redis.call('HGET', CLAIMS, id) ~= owner then
  count('late_outcomes')
  return 0
end
count('completed')
finish(id, 'o', outcome)
return 1
