-- The broker did not take these. ARGV: batches, oldest first.
local found = 0
for i = #ARGV, at + 1, -1 do
  if redis.call('ZREM', PUBLISHED, ARGV[i]) == 1 then
    put_first(split(ARGV[i]))
    found = found + 1
  end
end
return found
