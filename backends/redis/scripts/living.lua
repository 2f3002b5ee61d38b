-- Which workers live, and what was published for them and is not claimed; after conversations.lua.
local ALIVE, PUBLISHED = prefix .. 'i:alive', prefix .. 'l:published'

local function worker_key(worker)
  return prefix .. 'w:' .. worker
end

local function live_workers()
  local found = {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', ALIVE, '(' .. integer(now), '+inf')) do
    if string.sub(member, 1, 2) == 'w:' then
      found[#found + 1] = string.sub(member, 3)
    end
  end
  return found
end

-- Those of its processes that take work; none once it is about to stop.
local function processes_of(worker)
  return tonumber(redis.call('HGET', worker_key(worker), 'p')) or 0
end

local function live_processes()
  local found = 0
  for _, worker in ipairs(live_workers()) do
    found = found + processes_of(worker)
  end
  return found
end
