-- The conversation that a command is about, and what it knows of it; after conversations.lua.
local conversation, v
-- Its hash as the command sees it: what it asks for is read once, what it changes is written at its
-- end. False stands for no such field.
local known, is_changed = {}, {}
-- True where it has no hash yet.
local is_new = false

local function enter(id)
  conversation, v = id, conversation_hash(id)
  known, is_changed, is_new = {}, {}, false
end

local function expect_fields(names)
  local values = redis.call('HMGET', v, unpack(names))
  for i, name in ipairs(names) do
    known[name] = values[i]
  end
end

local function field(name)
  if known[name] == nil then
    known[name] = not is_new and redis.call('HGET', v, name)
  end
  return known[name]
end

local function set_field(name, value)
  known[name], is_changed[name] = value, true
end

local function save_fields()
  local written, gone = {}, {}
  for name in pairs(is_changed) do
    if known[name] then
      written[#written + 1], written[#written + 2] = name, known[name]
    elseif not is_new then
      gone[#gone + 1] = name
    end
  end
  call_with('HSET', v, written)
  call_with('HDEL', v, gone)
  is_changed, is_new = {}, false
end
