-- Threads that have slots, as ids; or links, as id and chain in turn. ARGV: 'slots' or 'links'.
if ARGV[3] == 'slots' then
  return redis.call('ZRANGEBYSCORE', THREADS, integer(now), '+inf')
end
local links = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LINKS, integer(now), '+inf')) do
  local chain = chain_of(id)
  if chain then
    links[#links + 1] = id
    links[#links + 1] = chain
  end
end
return links
