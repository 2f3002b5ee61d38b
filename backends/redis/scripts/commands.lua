-- What a turn may hold; after lives.lua, and before the commands themselves.
-- What a turn may hold, by name, and where the arguments of the one that runs end.
local commands, last = {}, 0
-- What Redis has against new work, where a command of this turn brings some.
local refused
-- By pump, the openings that this turn has accepted, as numbers and scopes; and the number of the
-- opening before which it has all replies.
local openings, replied_before = {}, {}

-- An opening whose reply is lost comes again. After everything else it does: what is refused for want
-- of memory must not seem to be done.
local function note_opening(pump, number, replied, scope)
  local rows = openings[pump] or {}
  rows[#rows + 1], rows[#rows + 2] = number, scope
  openings[pump], replied_before[pump] = rows, replied
end

local function begin_command()
  conversation, v, me = nil, nil, nil
  known, is_changed, is_new, scopes, news = {}, {}, false, {}, {}
end
