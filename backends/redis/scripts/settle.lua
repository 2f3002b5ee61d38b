-- Applies everything one hop did, or nothing. ARGV: pump, entry, conversation, scope, gather (when
-- it is one that was taken), most slots of a thread, id of the message (when it is one) and its hop,
-- what it begins a conversation with (chain, pump and slot, or '' where it does not), slots; what is sent; scatters, each with its gather, its record, and scope and message of each
-- member; answers; letter id and letter. Returns {'ok', answers dropped, news ...}, {'duplicate'} or
-- {'slots', thread}.
local function scatter(scope)
  local key, record, members = arg(), arg(), numeric_arg()
  set_field('g' .. key, record)
  set_field('n' .. key, members)
  set_field('k' .. key, members)
  for position = 0, members - 1 do
    set_scope(arg(), {1, scope, key, position, '', 0})
    send()
  end
  if members == 0 then
    deliver('g', key, 'c', conversation)
    return 1
  end
  return members
end

local function keep_letter(id, letter)
  redis.call('HSET', prefix .. 'l:letters', id, letter)
  redis.call('ZADD', prefix .. 'i:letters', integer(now), id)
  expire_if_ends(prefix .. 'l:letters')
  expire_if_ends(prefix .. 'i:letters')
  count('dead_letters')
end

function commands.settle()
  local entry, id, scope, gather, max_slots
  me, entry, id, scope, gather, max_slots = arg(), arg(), arg(), arg(), arg(), numeric_arg()
  local message, hop = arg(), arg()
  local chain, pump, slot = arg(), nil, nil
  if chain ~= '' then
    pump, slot = arg(), arg()
  end
  local slots = read_slots()

  enter(id)
  -- A message leaves a mark when it is settled, a scatter is gone then: a copy of an entry, put
  -- there by whoever can write to the stream, enters nothing twice.
  local mark = gather == '' and 'h' .. message or 'g' .. gather
  local names = {'s' .. scope, 'r' .. scope, 'o', 'x', mark}
  for i = 1, math.min(#slots, 1000) do
    names[#names + 1] = 't' .. slots[i][1]
  end
  expect_fields(names)
  if chain ~= '' and not field('o') and redis.call('ZSCORE', OPEN, id) then
    unfold_into(chain, pump, slot)
  end
  local full, lengths = full_thread(slots, max_slots, {})
  if full then
    save()
    return {'slots', full}
  end
  if not acknowledge(entry) then
    save()
    return {'duplicate'}
  end
  if not scope_of(scope) then
    -- Its conversation was deleted by hand.
    return {'duplicate'}
  end
  if (field(mark) ~= false) == (gather == '') then
    count('duplicates')
    return {'duplicate'}
  end
  remember(slots, lengths)
  if gather ~= '' then
    close_gather(gather)
  end

  local units = numeric_arg()
  for _ = 1, units do
    send()
  end
  for _ = 1, numeric_arg() do
    units = units + scatter(scope)
  end
  scope_of(scope)[UNITS] = scope_of(scope)[UNITS] + units

  local dropped = 0
  for _ = 1, numeric_arg() do
    if not answer_scope(scope, arg()) then
      dropped = dropped + 1
    end
  end
  if dropped > 0 then
    count('late_answers', dropped)
  end

  if gather == '' then
    set_field(mark, hop)
  end
  local letter_id, letter = arg(), arg()
  if letter_id ~= '' then
    keep_letter(letter_id, letter)
  end
  release(scope)
  count('hops')
  return {'ok', dropped, unpack(news)}
end
