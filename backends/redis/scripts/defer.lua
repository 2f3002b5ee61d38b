-- Puts a taken message back until later. ARGV: entry, id, record, delay in ms.
function commands.defer()
  local entry, id, record, delay = arg(), arg(), arg(), numeric_arg()
  if not acknowledge(entry) then
    return {'duplicate'}
  end
  redis.call('HSET', prefix .. 'l:delayed', id, record)
  redis.call('ZADD', DELAYED, integer(now + delay), id)
  count('retries')
  return {'ok'}
end
