-- Publishes what this turn has recorded, if it is one dispatch, nothing waits before it and fewer
-- messages are unclaimed than processes live. ARGV: dispatch id, the list that workers take from,
-- the message. Returns 1, or 0 where that is left to the publisher.
function commands.publish_alone()
  local id, list, message = arg(), arg(), arg()
  if #recorded ~= 1 or recorded[1] ~= id or redis.call('LLEN', READY) > 0 then
    return 0
  end
  local unclaimed = redis.call('ZCARD', PUBLISHED)
  if unclaimed > 0 and unclaimed >= live_processes() then
    return 0
  end
  -- Should that be refused, it is for the publisher to meet, and to say.
  if type(redis.pcall('LPUSH', list, message)) == 'table' then
    return 0
  end
  redis.call('ZADD', PUBLISHED, integer(tonumber(clock[1]) * 1000000 + tonumber(clock[2])), id)
  recorded = {}
  return 1
end
