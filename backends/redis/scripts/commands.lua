-- What a turn may hold; after lives.lua, and before the commands themselves.
-- What a turn may hold, by name, and where the arguments of the one that runs end.
local commands, last = {}, 0
-- What Redis has against new work, where a command of this turn brings some.
local refused
-- By pump, the number of the opening before which it has all replies.
local replied_before = {}

local function begin_command()
  conversation, v, me = nil, nil, nil
  known, is_changed, scopes, news = {}, {}, {}, {}
end
