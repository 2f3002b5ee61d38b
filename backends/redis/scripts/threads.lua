-- What every script begins with. ARGV: prefix, time to live in ms (0: for ever), then its own.
local NEVER = 9000000000000000
local prefix, ttl = ARGV[1], tonumber(ARGV[2])
local THREADS, LINKS = prefix .. 'i:threads', prefix .. 'i:links'

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local changed = {}

-- Lua would write a large number as 9e+15, which Redis takes for no integer.
local function integer(number)
  return string.format('%.0f', number)
end

local function thread_key(id)
  return prefix .. 't:' .. id
end

local function chain_key(chain)
  return prefix .. 'c:' .. chain
end

local function chain_of(id)
  local link = redis.call('LINDEX', thread_key(id), 0)
  return link and link ~= '' and string.sub(link, 2) or nil
end

local function expire_at(key, moment)
  if moment >= NEVER then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIREAT', key, integer(moment))
  end
end

local function take_from(index, id)
  redis.call('ZREM', index, id)
  changed[index] = true
end

-- The hash of the conversation that a chain belongs to, or nil.
local function conversation_key(chain)
  local id = string.match('.' .. chain, '%.@([^.]*)')
  return id and prefix .. 'v:' .. string.gsub(id, '%%(%x%x)', function(code)
    return string.char(tonumber(code, 16))
  end)
end

-- Where the hash of a long conversation keeps what it has done.
local function elder_key(conversation_hash)
  return prefix .. 'e:' .. string.sub(conversation_hash, #prefix + 3)
end

-- Ends every writing script. Not its beginning: once a script has written, Redis no
-- longer refuses it for want of memory.
local function tidy()
  for index in pairs(changed) do
    redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. integer(now))
    local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
    if last then
      expire_at(index, tonumber(last))
    end
  end
end
