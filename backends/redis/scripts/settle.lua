-- Applies everything one hop did, or nothing. ARGV: pump, entry, conversation, scope, gather (when
-- it is one that was taken), most slots of a thread, id of the message (when it is one) and its hop,
-- slots; records sent; scatters, each with its gather, its record, and scope and record of each
-- member; answers; letter id and letter. Returns {'ok', what waits, answers dropped, news ...},
-- {'duplicate'} or {'slots', thread}.
local pump, entry, id, scope, gather, max_slots = arg(), arg(), arg(), arg(), arg(), numeric_arg()
local message, hop = arg(), arg()
local slots = read_slots()
me = pump

local full = full_thread(slots, max_slots)
if full then
  return {'slots', full}
end
if not acknowledge(entry) then
  return {'duplicate'}
end
enter(id)
if not scope_of(scope) then
  -- Its conversation was deleted by hand.
  return {'duplicate'}
end
-- A copy of an entry, put there by whoever can write to the stream, enters nothing twice.
local is_first
if gather ~= '' then
  is_first = close_gather(gather)
else
  is_first = redis.call('HSETNX', v, 'h' .. message, hop) == 1
end
if not is_first then
  count('duplicates')
  return {'duplicate'}
end
remember(slots)

local sends = numeric_arg()
for _ = 1, sends do
  deliver('m', arg())
end
scope_of(scope)[UNITS] = scope_of(scope)[UNITS] + sends

for _ = 1, numeric_arg() do
  local key, record, members = arg(), arg(), numeric_arg()
  redis.call('HSET', v, 'g' .. key, record, 'n' .. key, members, 'k' .. key, members)
  for position = 0, members - 1 do
    local member = arg()
    redis.call('HSET', v, 's' .. member, cmsgpack.pack({1, scope, key, position, '', 0}))
    deliver('m', arg())
  end
  if members == 0 then
    members = 1
    deliver('g', key, 'c', id)
  end
  scope_of(scope)[UNITS] = scope_of(scope)[UNITS] + members
end

local dropped = 0
for _ = 1, numeric_arg() do
  if not answer_scope(scope, arg()) then
    dropped = dropped + 1
  end
end
if dropped > 0 then
  count('late_answers', dropped)
end

local letter_id, letter = arg(), arg()
if letter_id ~= '' then
  redis.call('HSET', prefix .. 'l:letters', letter_id, letter)
  redis.call('ZADD', prefix .. 'i:letters', integer(now), letter_id)
  expire_if_ends(prefix .. 'l:letters')
  expire_if_ends(prefix .. 'i:letters')
  count('dead_letters')
end
release(scope)
count('hops')
tidy()
return {'ok', waiting(), dropped, unpack(news)}
