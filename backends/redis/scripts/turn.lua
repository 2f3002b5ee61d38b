-- Runs the commands that came up in one turn of a pump's event loop, one after the other: what they
-- have in common is done once. ARGV: for each its name, how many arguments it has, and these.
-- Returns what waits, then each command's reply; one that fails replies with its error, and the
-- others run all the same.
tally = {}
local ahead = at
while ahead < #ARGV do
  if ARGV[ahead + 1] == 'open' or ARGV[ahead + 1] == 'begin' then
    refused = shortage()
    break
  end
  ahead = ahead + 2 + tonumber(ARGV[ahead + 2])
end
local replies = {0}
while at < #ARGV do
  local name, size = arg(), numeric_arg()
  last = at + size
  begin_command()
  local is_done, reply = pcall(commands[name])
  if not is_done and type(reply) ~= 'table' then
    reply = {err = tostring(reply)}
  end
  replies[#replies + 1] = reply
  at = last
end

if #acknowledged > 0 then
  call_with('XDEL', INBOX, acknowledged)
  if redis.call('XLEN', INBOX) == 0 then
    expire_if_ends(INBOX)
  end
end
publish_recorded()
for pump, replied in pairs(replied_before) do
  call_with('ZADD', openings_of(pump), openings[pump])
  redis.call('ZREMRANGEBYSCORE', openings_of(pump), '-inf', '(' .. replied)
  redis.call('PEXPIRE', openings_of(pump), OPENINGS_KEPT)
end
index_conversations()
for what, by in pairs(tally) do
  add_to_counts(what, by)
end
tidy()
replies[1] = waiting()
return replies
