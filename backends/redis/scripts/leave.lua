-- A pump or worker ends in good order. ARGV: 'p' or 'w', its id. Returns how much it gave back.
begin_though_full()
local kind, id = arg(), arg()
local found = kind == 'p' and bury_pump(id) or bury_worker(id, false, 1)
if kind == 'p' then
  redis.call('DEL', openings_of(id))
else
  nudge()
end
return found
