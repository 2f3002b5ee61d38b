-- The broker did not take these. ARGV: batches, oldest first.
begin_though_full()
local found = 0
for i = #ARGV, at + 1, -1 do
  if redis.call('ZSCORE', PUBLISHED, ARGV[i]) then
    -- In this order: one denied half-way is published twice, which does no harm.
    put_first(split(ARGV[i]))
    redis.call('ZREM', PUBLISHED, ARGV[i])
    found = found + 1
  end
end
return found
