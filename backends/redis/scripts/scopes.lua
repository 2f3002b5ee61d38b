-- How messages are counted and answered; after messages.lua.
-- Open scopes of this conversation that the command has touched: units, parent, gather, position,
-- pumps that wait for it, settled.
local scopes = {}
local UNITS, PARENT, GATHER, POSITION, PUMPS, SETTLED = 1, 2, 3, 4, 5, 6

local function scope_of(id)
  if scopes[id] == nil then
    local raw = field('s' .. id)
    scopes[id] = raw and cmsgpack.unpack(raw) or false
  end
  return scopes[id]
end

local function set_scope(id, scope)
  set_field('s' .. id, cmsgpack.pack(scope))
end

local function save()
  for id, scope in pairs(scopes) do
    if scope then
      set_scope(id, scope)
    end
  end
  save_fields()
end

-- What the pump that runs this command is told of its own; others read it from their streams.
local me
local news = {}

local function tell(pumps, kind, scope, answer)
  for pump in string.gmatch(pumps, '[^ ]+') do
    if pump == me then
      news[#news + 1] = kind
      news[#news + 1] = scope
      news[#news + 1] = answer
    else
      redis.call('XADD', prefix .. 's:' .. pump, 'NOMKSTREAM', '*', 'k', kind, 's', scope, 'a', answer)
    end
  end
end

local function add_unit(id)
  local scope = scope_of(id)
  scope[UNITS] = scope[UNITS] + 1
end

local function close_gather(gather)
  for position = 0, tonumber(field('k' .. gather) or 0) - 1 do
    set_field('a' .. gather .. ':' .. position, false)
  end
  for _, kind in ipairs({'g', 'n', 'k'}) do
    set_field(kind .. gather, false)
  end
end

-- A root scope's answer, if it has one or has ended.
local function answer_of(scope)
  return field('r' .. scope) or redis.call('HGET', elder_key(v), 'r' .. scope)
end

-- Gives a scope its first answer, false for none; returns whether it was the first.
local function answer_scope(id, answer)
  local scope = scope_of(id)
  if scope[PARENT] == '' then
    if not answer or field('r' .. id) then
      return not answer
    end
    set_field('r' .. id, answer)
    tell(scope[PUMPS], 'answered', id, answer)
    return true
  end
  if scope[SETTLED] == 1 then
    return false
  end
  scope[SETTLED] = 1
  local gather = scope[GATHER]
  if answer then
    set_field('a' .. gather .. ':' .. scope[POSITION], answer)
  end
  local left = tonumber(field('n' .. gather)) - 1
  set_field('n' .. gather, left)
  if left == 0 then
    add_unit(scope[PARENT])
    deliver('g', gather, 'c', conversation)
  end
  return true
end
