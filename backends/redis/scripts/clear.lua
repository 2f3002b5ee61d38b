-- Deletes the slots or the links of every thread. ARGV: 'slots' or 'links'.
if ARGV[3] == 'slots' then
  for _, id in ipairs(redis.call('ZRANGE', THREADS, 0, -1)) do
    drop_slots(id)
  end
else
  for _, id in ipairs(redis.call('ZRANGE', LINKS, 0, -1)) do
    local chain = chain_of(id)
    if chain then
      unlink(id, chain)
    end
  end
end
tidy()
