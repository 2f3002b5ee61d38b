"""Corners of the ledger that a random walk seldom reaches."""

from typing import Any

import msgspec
import pytest
import redis

from backends import BackendConfig
from backends.codec import Codec
from backends.mailbox import Envelope
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch
from backends.redis.scripts import script_text
from backends.redis.streams import history_of
from backends.terms import Terms
from tests.servers import RedisServer
from tests.unit.backends.conftest import TERMS
from tests.waiting import eventually

DISPATCH = Dispatch(Envelope("m", "c", "s", "chain", "t", "a", "from", b"payload"), "fa")


def sweep(client: redis.Redis, config: BackendConfig, *, no_worker_ms: int) -> int:
    script: Any = client.register_script(script_text("sweep"))
    client.hset(f"{config.redis_prefix}l:service", "since", 0)
    head = (config.redis_prefix, 0, 60_000, 10)
    return int(script(args=(*head, TERMS.lease_ms, TERMS.max_attempts, no_worker_ms)))


def test_a_copy_may_reach_one_who_fits_after_all(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis
) -> None:
    """What waits for a worker that fits waits no more once a worker has it."""
    ledger.record("d", "a", DISPATCH, "")
    (batch,) = ledger.publishable(1, 1, {})
    assert ledger.claim("misfit/1", batch.ids)
    assert ledger.release("misfit/1", ["d"], "fa") == 1
    assert ledger.claim("fits/1", batch.ids) == [("d", DISPATCH)]
    assert sweep(redis_client, config, no_worker_ms=0) == 0
    assert redis_client.hgetall(f"{config.redis_prefix}l:claims") == {b"d": b"fits/1"}
    assert not redis_client.exists(f"{config.redis_prefix}l:parked")


@pytest.mark.parametrize(("busy", "is_again"), [(1, True), (2, False)])
def test_what_the_broker_lost_comes_again_while_others_run(
    ledger: LedgerClient,
    config: BackendConfig,
    redis_client: redis.Redis,
    busy: int,
    is_again: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """If a process is free to take it; while all are busy it may just be waiting its turn."""
    ledger.beat("w", {"p": 2})
    for name in ("runs", "runs-too", "lost"):
        ledger.record(name, "a", DISPATCH, "")
    batches = ledger.publishable(9, 9, {})
    for process, batch in zip(range(busy), batches, strict=False):
        ledger.claim(f"w/{process}", batch.ids)
    published = f"{config.redis_prefix}l:published"
    unclaimed: Any = redis_client.zrange(published, 0, -1)
    # Long ago, but after all that has been claimed.
    redis_client.zadd(published, dict.fromkeys(unclaimed, 2))
    redis_client.set(f"{config.redis_prefix}l:mark", 1)
    sweep(redis_client, config, no_worker_ms=0)
    again = [batch.ids for batch in ledger.publishable(9, 9, {})]
    assert ("lost" in again) is is_again


@pytest.mark.parametrize("nonsense", [b"\xc1", b"\x00", b"\x80", b"\x81\xa1x\x01"])
def test_nonsense_among_what_waits_keeps_the_sweep_from_nobody(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis, nonsense: bytes
) -> None:
    """What was parked comes to workers again, and who died with it has died once."""
    ledger.beat("dead", {"p": 1})
    for name in ("parked", "held"):
        ledger.record(name, "a", DISPATCH, "")
    parked, held = ledger.publishable(9, 9, {})
    ledger.claim("misfit/1", parked.ids)
    ledger.release("misfit/1", ["parked"], "fa")
    ledger.claim("dead/1", held.ids)
    redis_client.hset(f"{config.redis_prefix}l:parked", "parked", nonsense)
    redis_client.hset(f"{config.redis_prefix}l:deaths", "held", nonsense)
    for key, field in (("l:service", "last"), ("w:odd", "p")):
        redis_client.hset(f"{config.redis_prefix}{key}", field, nonsense)
    redis_client.zadd(f"{config.redis_prefix}i:alive", {"w:dead": 1, "w:odd": 10**15})
    redis_client.set(f"{config.redis_prefix}l:mark", nonsense)
    sweep(redis_client, config, no_worker_ms=0)
    ledger.beat("next", {"p": 2})
    again = {batch.ids for batch in ledger.publishable(9, 9, {})}
    assert again == {"parked", "held"}


def test_counters_outlive_a_short_time_to_live_while_a_pump_lives(
    redis_server: RedisServer, redis_prefix: str, redis_client: redis.Redis
) -> None:
    """What ends soon after its conversation says nothing of how often things have happened."""
    config = BackendConfig(
        "redis", redis_url=redis_server.pump_url, redis_prefix=redis_prefix, redis_ttl=1
    )
    ledger = LedgerClient(config, Codec(), TERMS)
    caretaker = ledger.caretaker("someone", lambda _: None)
    try:
        redis_client.hincrby(f"{redis_prefix}l:counts", "completed", 1)
        caretaker.start()
        left_ms: Any = redis_client.pttl(f"{redis_prefix}l:counts")
        assert left_ms > TERMS.lease_ms, "the next beat comes within a lease"
    finally:
        caretaker.stop()
        ledger.close()


def test_a_clock_that_was_set_back(config: BackendConfig, redis_client: redis.Redis) -> None:
    """What a dead worker held, and what is due, does not wait for an hour that was before."""
    ledger = LedgerClient(config, Codec(), Terms(lease_s=0.5))
    prefix, ahead_ms = config.redis_prefix, 3600_000
    for name in ("held", "lost", "run"):
        ledger.record(name, "a", DISPATCH, "")
    held, *_ = ledger.publishable(9, 9, {})
    ledger.beat("dead", {"p": 1})
    ledger.claim("dead/1", held.ids)
    redis_client.hset(f"{prefix}l:delayed", "later", "record")
    seconds, _ = redis_client.time()
    redis_client.zadd(f"{prefix}i:delayed", {"later": seconds * 1000})
    # As if all of it had happened by a clock that was ahead.
    for key, unit in (("i:alive", 1), ("i:delayed", 1), ("l:published", 1000)):
        members: Any = redis_client.zrange(f"{prefix}{key}", 0, -1)
        for member in members:
            redis_client.zincrby(f"{prefix}{key}", ahead_ms * unit, member)
    for field in ("since", "last"):
        redis_client.hincrby(f"{prefix}l:service", field, ahead_ms)
    redis_client.incrby(f"{prefix}l:mark", ahead_ms * 1000)
    # By the new one, and before any pump has: it keeps its lease and what it holds.
    ledger.beat("live", {"p": 1})
    ledger.claim("live/1", "run")
    caretaker = ledger.caretaker("someone", lambda _: None)
    caretaker.start()
    try:
        ends: Any = redis_client.zscore(f"{prefix}i:alive", "w:live")
        assert ends > seconds * 1000
        assert redis_client.hget(f"{prefix}l:claims", "run") == b"live/1"
        again = f"{prefix}l:ready"
        assert eventually(lambda: {b"held", b"lost"} <= set(redis_client.lrange(again, 0, -1)))
        assert eventually(lambda: not redis_client.exists(f"{prefix}i:delayed"))
        assert eventually(lambda: not redis_client.zscore(f"{prefix}i:alive", "w:dead"))
    finally:
        caretaker.stop()
        ledger.close()


def test_an_outcome_makes_the_inbox_with_its_group(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis
) -> None:
    """All pumps were gone for so long that it had expired: the next one reads it all the same."""
    ledger.record("d", "a", DISPATCH, "")
    (batch,) = ledger.publishable(1, 1, {})
    ledger.claim("w/1", batch.ids)
    ledger.bury("w", {1: "d"})
    (batch,) = ledger.publishable(1, 1, {})
    ledger.claim("w/1", batch.ids)
    ledger.bury("w", {1: "d"})
    inbox: Any = f"{config.redis_prefix}s:inbox"
    groups: Any = redis_client.xinfo_groups(inbox)
    assert [group["name"] for group in groups] == [b"pump"]
    read: Any = redis_client.xreadgroup("pump", "later", {inbox: ">"})
    ((_, entries),) = read.items() if isinstance(read, dict) else read
    assert b"killed" in str(entries).encode()


def test_a_death_is_told_with_its_place(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis
) -> None:
    """As its worker told it, or with the host of a worker that died whole; or its owner's id."""
    ledger.beat("new", {"p": 1, "host": "vm"})
    ledger.beat("old", {"p": 1})
    for name, owner in (("a", "w/1"), ("b", "new/7"), ("c", "old/8")):
        ledger.record(name, name, DISPATCH, "")
        (batch,) = ledger.publishable(9, 9, {})
        ledger.claim(owner, batch.ids)
    ledger.bury("w", {1: "a"}, {1: "vm:1 SIGKILL"})
    redis_client.zadd(f"{config.redis_prefix}i:alive", {"w:new": 1.5, "w:old": 1.5})
    sweep(redis_client, config, no_worker_ms=0)
    deaths: Any = redis_client.hgetall(f"{config.redis_prefix}l:deaths")
    places = {name.decode(): history_of(raw)[0][0] for name, raw in deaths.items()}
    assert places == {"a": "vm:1 SIGKILL", "b": "vm:7", "c": "old/8"}


def test_the_window_counts_live_processes(ledger: LedgerClient) -> None:
    """Of all workers together; for none at all there is room as for one."""
    for number in range(20):
        ledger.record(f"d{number}", "a", DISPATCH, "")
    assert len(ledger.publishable(2, 20, {})) == 2
    ledger.beat("w1", {"p": 2})
    ledger.beat("w2", {"p": 1})
    assert len(ledger.publishable(2, 20, {})) == 4
    assert ledger.publishable(2, 20, {}) == []
    ledger.leave("w2")
    # What was published is to be published again, for it may have been with the one who left.
    assert [batch.ids for batch in ledger.publishable(2, 20, {})] == ["d0", "d1", "d2", "d3"]


def large(number: int) -> Dispatch:
    """One of 1.5 MiB."""
    envelope = Envelope(f"m{number}", "c", "s", "chain", "t", "a", "from", bytes(3 * 2**19))
    return Dispatch(envelope, "fa")


def test_large_ones_travel_few_at_a_time(ledger: LedgerClient) -> None:
    """However short their runs: a process is handed no more at once than it can well take."""
    ledger.beat("w", {"p": 1})
    for number in range(30):
        ledger.record(f"l{number}", "a", large(number), "")
    for number in range(5):
        ledger.record(f"s{number}", "a", DISPATCH, "")
    found = []
    while batches := ledger.publishable(50, 1000, {"a": 100}):
        found += [batch.ids.split() for batch in batches]
    assert [each for ids in found for each in ids] == [
        *(f"l{number}" for number in range(30)),
        *(f"s{number}" for number in range(5)),
    ]
    assert max(sum(each.startswith("l") for each in ids) for ids in found) == 3
    assert len(found[-1]) > 5, "small ones still share a message"
    assert ledger.claim("w/1", " ".join(found[0])) == [(f"l{n}", large(n)) for n in range(3)]


def test_a_forged_record_changes_nothing_but_its_own(
    config: BackendConfig, redis_client: redis.Redis
) -> None:
    """It goes to the quarantine, cut to a bounded size; its neighbour is run."""
    ledger = LedgerClient(config, Codec(keys=["a key for tests"]), TERMS)
    prefix = config.redis_prefix
    ledger.record("good", "a", DISPATCH, "")
    forged = Codec(keys=["another key"]).seal(b"x" * 10_000, "dispatch", "bad")
    redis_client.hset(f"{prefix}l:dispatches", "bad", b"a\n" + forged)
    redis_client.rpush(f"{prefix}l:ready", "bad")
    for batch in ledger.publishable(2, 2, {}):
        expected = [("good", DISPATCH)] if batch.ids == "good" else []
        assert ledger.claim("w/1", batch.ids) == expected
    assert redis_client.hkeys(f"{prefix}l:dispatches") == [b"good"]
    assert redis_client.hgetall(f"{prefix}l:claims") == {b"good": b"w/1"}
    (kept,) = redis_client.lrange(f"{prefix}l:quarantine", 0, -1)
    assert kept == forged[:4096]
    assert redis_client.pttl(f"{prefix}l:quarantine") > 0
    ledger.close()


@pytest.mark.parametrize(
    ("dispatch_id", "kept"),
    [
        (b"bad", b"a"),
        (b"bad", b"\xff\nrecord"),
        (b"\xff", b"a\nrecord"),
        ("b\u2003d".encode(), b"a\nrecord"),
        (b"b\nd", b"a\nrecord"),
    ],
    ids=["no line feed", "listener", "id", "wide space", "line feed in id"],
)
def test_a_forged_dispatch_keeps_back_no_other(
    config: BackendConfig, redis_client: redis.Redis, dispatch_id: bytes, kept: bytes
) -> None:
    """Whatever is wrong with it, those that would travel with it are run, and it goes."""
    ledger = LedgerClient(config, Codec(keys=["a key for tests"]), TERMS)
    prefix = config.redis_prefix
    ledger.record("first", "a", DISPATCH, "")
    redis_client.hset(f"{prefix}l:dispatches", dispatch_id, kept)
    redis_client.rpush(f"{prefix}l:ready", dispatch_id)
    ledger.record("last", "a", DISPATCH, "")
    claimed = [
        each
        for _ in range(2)
        for batch in ledger.publishable(9, 9, {"a": 9})
        for each in ledger.claim("w/1", batch.ids)
    ]
    assert claimed == [("first", DISPATCH), ("last", DISPATCH)]
    assert sorted(redis_client.hkeys(f"{prefix}l:dispatches")) == [b"first", b"last"]
    assert sorted(redis_client.hkeys(f"{prefix}l:claims")) == [b"first", b"last"]
    assert not redis_client.exists(f"{prefix}l:published")
    assert redis_client.llen(f"{prefix}l:quarantine") == 1
    ledger.close()


_ENCODED = msgspec.msgpack.encode(DISPATCH)


@pytest.mark.parametrize(
    "body",
    [_ENCODED.replace(b"\xa1m", b"\xa1\xff"), b"\x93" + _ENCODED[1:] + b"\x91" * 10_000],
    ids=["not UTF-8", "deep"],
)
def test_a_damaged_record_keeps_no_neighbour_claimed(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis, body: bytes
) -> None:
    """It is refused like a forged one; what was claimed with it is handed out."""
    ledger.record("good", "a", DISPATCH, "")
    redis_client.hset(f"{config.redis_prefix}l:dispatches", "bad", b"a\n\x01\x00" + body)
    assert ledger.claim("w/1", "bad good") == [("good", DISPATCH)]
    assert redis_client.hkeys(f"{config.redis_prefix}l:claims") == [b"good"]
    assert redis_client.hkeys(f"{config.redis_prefix}l:dispatches") == [b"good"]


@pytest.mark.parametrize("batch_ids", ["", " ", "   "])
def test_a_batch_of_nothing_claims_nothing(ledger: LedgerClient, batch_ids: str) -> None:
    assert ledger.claim("w/1", batch_ids) == []


def test_claims_that_are_none_hide_no_dead_process(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis
) -> None:
    """Who looks for the processes of one worker passes over what nobody of ours wrote."""
    ledger.record("d", "a", DISPATCH, "")
    assert ledger.claim("w/17", "d")
    forged = {"x": b"\xff", "y": "w/", "z": "w/nobody", "q": "w/" + "9" * 5000}
    redis_client.hset(f"{config.redis_prefix}l:claims", mapping=forged)  # type: ignore[arg-type]
    assert set(ledger.claims_of("w")) == {17}


def test_a_record_of_another_place_is_forged(
    config: BackendConfig, redis_client: redis.Redis
) -> None:
    """A signed dispatch under another's id is refused like any other forgery."""
    ledger = LedgerClient(config, Codec(keys=["a key for tests"]), TERMS)
    prefix = config.redis_prefix
    ledger.record("mine", "a", DISPATCH, "")
    record: Any = redis_client.hget(f"{prefix}l:dispatches", "mine")
    redis_client.hset(f"{prefix}l:dispatches", "other", record)
    assert ledger.claim("w/1", "other") == []
    assert redis_client.hkeys(f"{prefix}l:dispatches") == [b"mine"]
    ledger.close()
