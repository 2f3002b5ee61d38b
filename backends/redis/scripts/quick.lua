-- Before everything else, for what happens most: one slot more in a thread that has some, and lives
-- long enough as it is. ARGV as `write`.
if #ARGV == 7 and ARGV[6] == '' then
  local key, wanted = ARGV[1] .. 't:' .. ARGV[5], tonumber(ARGV[2])
  local slots = redis.call('LLEN', key) - 1
  if slots > 0 and slots < tonumber(ARGV[3]) then
    local left = redis.call('PTTL', key)
    if left == -1 or wanted > 0 and left >= wanted then
      return {redis.call('RPUSH', key, ARGV[7]) - 2}
    end
  end
end
