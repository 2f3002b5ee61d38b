-- Processes of a live worker died. ARGV: worker, most attempts, 1 if their work counts as an
-- attempt, then each process, the dispatch it was running (empty: any of those it held; a space: none,
-- yet one may be to blame, so each runs alone from now on), and where it ran and how it ended (empty:
-- nobody knows). Returns how many dispatches they had.
begin_though_full()
local worker, max_attempts, is_counted = arg(), numeric_arg(), arg() == '1'
local running, places = {}, {}
local has_begun_none = false
while at < #ARGV do
  local process = worker .. '/' .. arg()
  running[process] = arg()
  has_begun_none = has_begun_none or running[process] == ' '
  places[process] = arg()
end
local claims = is_counted and has_begun_none and redis.call('HGETALL', CLAIMS) or {}
for i = 1, #claims, 2 do
  if running[claims[i + 1]] == ' ' and redis.call('HEXISTS', DEATHS, claims[i]) == 0 then
    redis.call('HSET', DEATHS, claims[i], cmsgpack.pack({}))
  end
end
local function is_culprit(id, owner)
  return is_counted and (running[owner] == '' or running[owner] == id)
end
local function place_of(owner)
  return places[owner] ~= '' and places[owner] or owner
end
local found = bury(function(owner) return running[owner] end, is_culprit, max_attempts, place_of)
nudge()
return found
