-- Processes of a live worker died. ARGV: worker, most attempts, 1 if their work counts as an
-- attempt, then each process, the dispatch it was running (empty: any of those it held), and where
-- it ran and how it ended (empty: nobody knows). Returns how many dispatches they had.
begin_though_full()
local worker, max_attempts, is_counted = arg(), numeric_arg(), arg() == '1'
local running, places = {}, {}
while at < #ARGV do
  local process = worker .. '/' .. arg()
  running[process] = arg()
  places[process] = arg()
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
