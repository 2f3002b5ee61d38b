-- What a fleet has to do and what it has done, for those who watch. Writes nothing, and visits no more
-- than the processes that live. ARGV: names of counts. Returns how much each place holds, in the
-- order that fleet.py names them, then the counts.
local has_inbox = redis.call('EXISTS', INBOX) == 1
local taken = has_inbox and redis.call('XPENDING', INBOX, GROUP)[1] or 0
local claimed = redis.call('HLEN', CLAIMS)
local workers, processes = live_workers(), 0
for _, worker in ipairs(workers) do
  processes = processes + processes_of(worker)
end
local pumps = redis.call('ZCOUNT', ALIVE, '(' .. integer(now), '+inf') - #workers
local found = {
  redis.call('XLEN', INBOX) - taken,
  taken,
  redis.call('ZCARD', DELAYED),
  redis.call('HLEN', DISPATCHES) - claimed,
  claimed,
  redis.call('HLEN', PARKED),
  redis.call('ZCARD', OPEN),
  redis.call('ZCARD', prefix .. 'i:letters'),
  redis.call('LLEN', prefix .. 'l:quarantine'),
  pumps,
  #workers,
  processes,
}
local names = {}
while at < #ARGV do
  names[#names + 1] = arg()
end
for i, value in ipairs(redis.call('HMGET', COUNTS, unpack(names))) do
  found[#found + 1] = tonumber(value) or 0
end
return found
