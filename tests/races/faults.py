"""The faults that `make races-planted` plants: each a small change of one script."""

from typing import NamedTuple


class Fault(NamedTuple):
    """In *script*, *old* is replaced; it must be there exactly once."""

    name: str
    script: str
    old: str
    new: str


#: What the races must get through.
CONTROL = Fault("nothing", "settle", "count('hops')", "count('hops')")
FAULTS = [
    # Claims, and what comes of them.
    Fault(
        "claim-takes-from-its-holder",
        "claim",
        "if kept[i] and (not holders[i] or holders[i] == owner) then",
        "if kept[i] then",
    ),
    Fault(
        "claim-without-a-lease",
        "claim",
        "redis.call('ZADD', ALIVE, 'NX', integer(now + lease), 'w:' .. worker_of(owner))",
        "",
    ),
    Fault("claim-is-not-kept", "claim", "redis.call('HSET', CLAIMS, unpack(claims))", ""),
    Fault("complete-by-anybody", "complete", "if holders[i] == owner then", "if holders[i] then"),
    Fault("complete-ends-no-dispatch", "complete", "  finish(done)\n", ""),
    Fault("complete-ends-one-of-a-batch", "complete", "finish(done)", "finish({done[1]})"),
    Fault("complete-is-not-told", "complete", "      hand_over(ids[i], 'o', outcomes[i])\n", ""),
    Fault("going-on-takes-anothers", "complete", "kept and not holder and", "kept and"),
    Fault("going-on-is-not-kept", "complete", "    call_with('HSET', CLAIMS, claims)\n", ""),
    Fault(
        "going-on-forgets-what-it-took",
        "complete",
        "if claims[i + 1] == owner then",
        "if false then",
    ),
    # Deaths of workers and pumps.
    Fault("death-forgets-one-of-a-batch", "ledger", "again[#again + 1] = id", "again[1] = id"),
    Fault("death-counted-once-too-few", "ledger", "if #history >= max", "if #history > max"),
    Fault(
        "death-is-not-counted",
        "sweep",
        "tonumber(redis.call('ZSCORE', ALIVE, member)) > since",
        "false",
    ),
    Fault(
        "death-counted-against-neighbours",
        "bury",
        "return is_counted and (running[owner] == '' or running[owner] == id)",
        "return is_counted",
    ),
    Fault("stop-counts-as-death", "leave", "bury_worker(id, false, 1)", "bury_worker(id, true, 1)"),
    Fault("deaths-kept-for-ever", "ledger", "    redis.call('HDEL', DEATHS, id)\n", ""),
    Fault("dead-pump-loses-its-messages", "ledger", "        deliver(unpack(entry[2]))\n", ""),
    Fault(
        "dead-pump-keeps-its-messages", "ledger", "      redis.call('XDEL', INBOX, row[1])\n", ""
    ),
    Fault("sweep-takes-from-live-workers", "sweep", "if not known[worker] then", "if true then"),
    Fault(
        "sweep-takes-from-live-pumps",
        "sweep",
        "redis.call('ZRANGEBYSCORE', ALIVE, '-inf', integer(now))",
        "redis.call('ZRANGEBYSCORE', ALIVE, '-inf', '+inf')",
    ),
    Fault("sweep-judges-by-an-outage", "sweep", "if now - since < lease then", "if false then"),
    # Settlements.
    Fault(
        "settled-though-taken-over",
        "conversations",
        "redis.call('XACK', INBOX, GROUP, entry) == 0",
        "redis.call('XACK', INBOX, GROUP, entry) == 2",
    ),
    Fault("settled-entry-is-left", "turn", "call_with('XDEL', INBOX, acknowledged)", ""),
    Fault("scatter-counts-no-member", "settle", "units = units + scatter(scope)", "scatter(scope)"),
    Fault("scatter-counts-one-more", "settle", "  return members\n", "  return members + 1\n"),
    Fault("member-settles-twice", "scopes", "  scope[SETTLED] = 1\n", ""),
    Fault(
        "second-answer-of-a-root",
        "scopes",
        "if not answer or field('r' .. id) then",
        "if not answer then",
    ),
    Fault(
        "members-answer-is-lost",
        "scopes",
        "    set_field('a' .. gather .. ':' .. scope[POSITION], answer)\n",
        "",
    ),
    Fault("gather-keeps-nothing-open", "scopes", "    add_unit(scope[PARENT])\n", ""),
    Fault("gather-is-kept", "settle", "    close_gather(gather)\n", ""),
    Fault("late-answer-is-not-counted", "settle", "count('late_answers', dropped)", ""),
    Fault("scope-above-stays-open", "lives", "    id = scope[PARENT]\n", "    id = ''\n"),
    Fault("close-is-not-told", "lives", "      tell(scope[PUMPS], 'closed', id, '')\n", ""),
    Fault("letter-is-lost", "settle", "redis.call('HSET', prefix .. 'l:letters', id, letter)", ""),
    Fault(
        "others-are-told-nothing",
        "scopes",
        "    else\n      redis.call('XADD'",
        "    elseif false then\n      redis.call('XADD'",
    ),
    Fault("ended-conversation-stays-open", "lives", "    call_with('ZREM', OPEN, ended)\n", ""),
    # Openings.
    Fault(
        "message-id-is-forgotten",
        "open",
        "    redis.call('SET', prefix .. 'n:' .. message_id, id)\n",
        "",
    ),
    Fault(
        "opened-twice-for-want-of-a-reply",
        "open",
        "if redis.call('ZSCORE', openings_of(pump), scope) == number then",
        "if false then",
    ),
    Fault(
        "begun-twice-for-want-of-a-reply",
        "begin",
        "if redis.call('ZSCORE', openings_of(pump), id) == number then",
        "if false then",
    ),
    Fault("who-joins-is-not-told", "open", "first[PUMPS] = first[PUMPS] .. ' ' .. pump", ""),
    Fault(
        "opened-again-but-not-counted",
        "lives",
        "set_field('o', tonumber(count_before or 0) + 1)",
        "set_field('o', 1)",
    ),
    # Folded conversations.
    Fault(
        "folded-leads-elsewhere",
        "begin",
        "is_open[id] = place_of(entry)",
        "is_open[id] = place_of('1-1')",
    ),
    Fault("dispatched-while-folded", "dispatch", "unfold(conversation_id)", ""),
    Fault("deferred-while-folded", "defer", "unfold(conversation_id)", ""),
    Fault("taken-over-while-folded", "ledger", "        unfold_entry(entry[2])\n", ""),
    Fault("settled-while-folded", "settle", "    unfold_into(chain, pump, slot)\n", ""),
    Fault("claim-leaves-it-published", "claim", "  redis.call('ZREM', PUBLISHED, joined)\n", ""),
    Fault(
        "claim-leaves-no-mark",
        "claim",
        "redis.call('SET', MARK, integer(tonumber(moment)), 'PX', integer(lease * LEASES_KEPT))",
        "",
    ),
    Fault(
        "lost-by-the-broker-is-lost",
        "sweep",
        "moved = moved + publish_again(integer(latest))\n",
        "",
    ),
    Fault(
        "recalled-as-open-for-ever",
        "recall",
        "and 'closed' or 'unknown'",
        "and 'open' or 'unknown'",
    ),
    Fault("reopened-though-it-expires", "lives", "    redis.call('PERSIST', v)\n", ""),
    # What is put back, or runs again.
    Fault("released-is-lost", "release", "  put_first(ids)\n", ""),
    Fault(
        "release-of-anothers",
        "release",
        "if redis.call('HGET', CLAIMS, id) == owner then",
        "if true then",
    ),
    Fault("parked-is-lost", "sweep", "    redis.call('LPUSH', READY, id)\n", ""),
    Fault("refused-by-the-broker-is-lost", "unpublish", "    put_first(split(ARGV[i]))\n", ""),
    Fault("replayed-is-lost", "replay", "deliver('m', record)\n", ""),
    Fault(
        "replayed-scope-counts-nothing",
        "replay",
        "begin_scope(scope, 1, '')",
        "begin_scope(scope, 0, '')",
    ),
    # Retries, publications, expiry.
    Fault(
        "retry-is-kept-when-due",
        "beat",
        "  redis.call('HDEL', prefix .. 'l:delayed', message)\n",
        "",
    ),
    Fault(
        "retry-has-no-time", "defer", "redis.call('ZADD', DELAYED, integer(now + delay), id)", ""
    ),
    Fault(
        "published-though-claimed",
        "publish",
        "elseif kept[i] and not holders[i] then",
        "elseif kept[i] then",
    ),
    Fault("what-has-no-room-is-lost", "publish", "put_first(left)\n", ""),
    Fault(
        "published-once-only",
        "ledger",
        "    local ids = split(batches[i])\n    put_first(ids)\n",
        "    local ids = {}\n",
    ),
    Fault(
        "conversation-never-expires", "lives", "  redis.call('PEXPIRE', v, integer(real_ttl))\n", ""
    ),
    Fault("inbox-expires-with-work", "conversations", "    redis.call('PERSIST', INBOX)\n", ""),
]
