"""Any order of events leaves no dispatch lost, doubled or judged unjustly.

A plain model of the ledger beside a real one, with two workers of two processes each and a
broker that loses, repeats and delays messages as it likes.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import uuid4

import hypothesis.strategies as st
import redis
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from backends import BackendConfig
from backends.codec import Codec
from backends.mailbox import Envelope, Hop
from backends.redis.ledger import Batch, LedgerClient
from backends.redis.records import Dispatch, Outcome
from backends.redis.scripts import script_text
from backends.terms import Terms
from tests.machines import run_machine
from tests.servers import RedisServer

MAX_ATTEMPTS = 2
TERMS = Terms(lease_s=60, max_attempts=MAX_ATTEMPTS)
#: What a listener's handlers need, and who advertises it.
FINGERPRINTS = {"a": "fa", "b": "fb"}
STREAM = "awaiting"
FAR_MS = 10**15

workers = st.sampled_from(["w1", "w2"])
processes = st.sampled_from([1, 2])
owners = st.builds("{}/{}".format, workers, processes)
listeners = st.sampled_from(sorted(FINGERPRINTS))
positions = st.integers(0, 50)


def dispatch_to(listener: str) -> Dispatch:
    envelope = Envelope("m", "c", "s", "chain", "t", listener, "from", b"payload")
    return Dispatch(envelope, FINGERPRINTS[listener])


def outcome() -> Outcome:
    hop = Hop("m", "a", "from", "t", "chain", "T", "host:1", 1, 0.0, 0.0)
    return Outcome(dispatch_to("a").envelope, b"done", hop)


@dataclass
class Model:
    """What must be so, whatever the ledger does to bring it about."""

    listener: dict[str, str] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    deaths: Counter[str] = field(default_factory=Counter)
    #: How each dispatch ended: `o` with an outcome, `x` without.
    ended: dict[str, str] = field(default_factory=dict)
    late: int = 0
    #: Fingerprints of each live worker.
    live: dict[str, set[str]] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)

    def held_by(self, worker: str) -> dict[str, str]:
        return {id_: who for id_, who in self.claims.items() if who.startswith(f"{worker}/")}

    def can_run(self, dispatch_id: str) -> bool:
        wanted = FINGERPRINTS[self.listener[dispatch_id]]
        return any(wanted in known for known in self.live.values())

    def end(self, dispatch_id: str, kind: str) -> None:
        self.ended[dispatch_id] = kind
        self.claims.pop(dispatch_id, None)
        self.parked.discard(dispatch_id)

    def bury(self, dispatch_id: str, *, is_counted: bool) -> None:
        del self.claims[dispatch_id]
        self.deaths[dispatch_id] += is_counted
        if is_counted and self.deaths[dispatch_id] >= MAX_ATTEMPTS:
            self.end(dispatch_id, "x")

    def forget(self, worker: str) -> None:
        self.live.pop(worker, None)
        self.processes.pop(worker, None)


class LedgerMachine(RuleBasedStateMachine):
    url: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"test-{uuid4().hex}:"
        config = BackendConfig(
            backend_type="redis", redis_url=self.url, redis_prefix=self.prefix, redis_ttl=3600
        )
        self.ledger = LedgerClient(config, Codec(), TERMS)
        # Records are bytes; here only their ids matter.
        options = {"decode_responses": True, "encoding_errors": "replace"}
        self.client: Any = redis.Redis.from_url(self.url, **options)
        self.sweeper = self.client.register_script(script_text("sweep"))
        self.client.xadd(self.key(f"s:{STREAM}"), {"n": ""})
        self.model = Model()
        #: Every message the broker ever had; it may hand out each of them at any time.
        self.broker: list[Batch] = []

    def key(self, rest: str) -> str:
        return f"{self.prefix}{rest}"

    def teardown(self) -> None:
        try:
            self.finish_everything()
        finally:
            for key in self.client.scan_iter(match=f"{self.prefix}*", count=1000):
                self.client.delete(key)
            self.client.close()
            self.ledger.close()

    @initialize(chosen=st.lists(listeners, min_size=1, max_size=4))
    def begin(self, chosen: list[str]) -> None:
        for listener in chosen:
            self.record(listener)
        self.publish(window=2, most=4, size=2)

    @rule(listener=listeners)
    def record(self, listener: str) -> None:
        dispatch_id = f"d{len(self.model.listener)}"
        self.model.listener[dispatch_id] = listener
        self.ledger.record(dispatch_id, listener, dispatch_to(listener), STREAM)

    @precondition(lambda self: self.unfinished())
    @rule(position=positions)
    def record_once_more(self, position: int) -> None:
        """Its reply was lost, so it is sent again; it must not count twice."""
        waiting = self.unfinished()
        dispatch_id = waiting[position % len(waiting)]
        listener = self.model.listener[dispatch_id]
        self.ledger.record(dispatch_id, listener, dispatch_to(listener), STREAM)

    @rule(worker=workers, known=st.sets(listeners), count=st.integers(0, 2))
    def beat(self, worker: str, known: set[str], count: int) -> None:
        known |= {
            name
            for name, fingerprint in FINGERPRINTS.items()
            if fingerprint in self.model.live.get(worker, ())
        }
        advert = {f"f{FINGERPRINTS[name]}": 1 for name in known}
        self.ledger.beat(worker, {**advert, "p": count})
        self.model.live[worker] = {FINGERPRINTS[name] for name in known}
        self.model.processes[worker] = count

    @rule(window=st.integers(1, 3), most=st.integers(1, 6), size=st.integers(1, 3))
    def publish(self, window: int, most: int, size: int) -> None:
        before = self.published()
        batches = self.ledger.publishable(window, most, {"a": size})
        room = window * max(sum(self.model.processes.values()), 1)
        assert len(before) + len(batches) <= max(room, len(before))
        for batch in batches:
            ids = batch.ids.split()
            assert {self.model.listener[each] for each in ids} == {batch.listener}
            assert len(ids) <= (size if batch.listener == "a" else 1)
            assert not set(ids) & (set(self.model.claims) | set(self.model.ended))
            if any(self.model.deaths[each] for each in ids):
                assert len(ids) == 1
        self.broker += batches

    @rule(position=positions)
    def put_back(self, position: int) -> None:
        self.ledger.put_back(self.broker[position : position + 2])

    @rule()
    def publish_again(self) -> None:
        self.ledger.publish_again()
        assert not self.published()

    @precondition(lambda self: self.broker)
    @rule(owner=owners, position=positions)
    def claim(self, owner: str, position: int) -> None:
        ids = self.broker[position % len(self.broker)].ids
        expected = [
            each
            for each in ids.split()
            if each not in self.model.ended and self.model.claims.get(each, owner) == owner
        ]
        found = self.ledger.claim(owner, ids)
        assert [each for each, _ in found] == expected
        for each, dispatch in found:
            assert dispatch == dispatch_to(self.model.listener[each])
            self.model.claims[each] = owner
            self.model.parked.discard(each)
        self.model.live.setdefault(owner.partition("/")[0], set())

    @rule(owner=owners, chosen=st.sets(positions, min_size=1, max_size=3))
    def complete(self, owner: str, chosen: set[int]) -> None:
        ids = [each for each in self.model.listener if int(each[1:]) in chosen]
        if not ids:
            ids = ["d0"]
        expected = [self.model.claims.get(each) == owner for each in ids]
        assert self.ledger.complete(owner, {each: outcome() for each in ids}) == expected
        self.model.late += expected.count(False)
        for each, is_in in zip(ids, expected, strict=True):
            if is_in:
                self.model.end(each, "o")

    @rule(owner=owners, listener=listeners, wanted=st.integers(1, 3))
    def go_on(self, owner: str, listener: str, wanted: int) -> None:
        """A process is done with all it holds, and takes what waits."""
        held = [each for each, holder in self.model.claims.items() if holder == owner]
        worker = owner.partition("/")[0]
        ready = self.client.lrange(self.key("l:ready"), 0, -1)
        accepted, taken = self.ledger.go_on(
            owner, {each: outcome() for each in held}, listener, wanted
        )
        assert accepted == [True] * len(held)
        for each in held:
            self.model.end(each, "o")
        expected: list[str] = []
        if self.model.processes.get(worker) and len(ready) > len(self.published()):
            share = -(-len(ready) // sum(self.model.processes.values()))
            for each in ready[: min(wanted, share)]:
                if each in expected or not self.is_free(each, listener):
                    break
                expected.append(each)
        assert taken == [(each, dispatch_to(listener)) for each in expected]
        for each in expected:
            self.model.claims[each] = owner
            self.model.parked.discard(each)

    def is_free(self, dispatch_id: str, listener: str) -> bool:
        return (
            self.model.listener[dispatch_id] == listener
            and dispatch_id not in self.model.ended
            and dispatch_id not in self.model.claims
            and not self.model.deaths[dispatch_id]
        )

    @precondition(lambda self: self.model.claims)
    @rule(owner=owners, is_fit=st.booleans())
    def release(self, owner: str, *, is_fit: bool) -> None:
        for each, holder in list(self.model.claims.items()):
            fingerprint = "" if is_fit else FINGERPRINTS[self.model.listener[each]]
            is_held = holder == owner
            assert self.ledger.release(owner, [each], fingerprint) == is_held
            if is_held:
                del self.model.claims[each]
                if not is_fit and not self.model.can_run(each):
                    self.model.parked.add(each)

    @rule(worker=workers, dead=st.sets(processes), is_counted=st.booleans(), is_known=st.booleans())
    def bury(self, worker: str, dead: set[int], *, is_counted: bool, is_known: bool) -> None:
        told = {}
        for process in dead:
            held = [each for each, who in self.model.claims.items() if who == f"{worker}/{process}"]
            running = held[0] if held and is_known else ""
            told[process] = running
            for each in held:
                is_culprit = is_counted and running in ("", each)
                self.model.bury(each, is_counted=is_culprit)
        self.ledger.bury(worker, told, is_counted=is_counted)

    @rule(worker=workers)
    def leave(self, worker: str) -> None:
        self.ledger.leave(worker)
        for each in self.model.held_by(worker):
            self.model.bury(each, is_counted=False)
        self.model.forget(worker)

    @precondition(lambda self: self.model.live)
    @rule(worker=workers, was_away=st.booleans())
    def lapse(self, worker: str, *, was_away: bool) -> None:
        """A worker's lease ends; counted unless Redis was away meanwhile."""
        self.client.zadd(self.key("i:alive"), {f"w:{worker}": 1})
        # In both cases Redis has been there for long enough to judge.
        self.sweep(since=2 if was_away else 0)
        for each in self.model.held_by(worker):
            self.model.bury(each, is_counted=not was_away)
        self.model.forget(worker)
        self.after_sweep()

    @rule(is_patient=st.booleans())
    def sweep_only(self, *, is_patient: bool) -> None:
        self.sweep(no_worker=FAR_MS if is_patient else 0)
        self.after_sweep(is_patient=is_patient)

    def sweep(self, *, since: int = 0, no_worker: int = FAR_MS) -> None:
        self.client.hset(self.key("l:service"), "since", since)
        head = (self.prefix, 0, 3_600_000, 10)
        self.sweeper(args=(*head, TERMS.lease_ms, MAX_ATTEMPTS, no_worker))

    def after_sweep(self, *, is_patient: bool = True) -> None:
        for each in list(self.model.parked):
            if self.model.can_run(each):
                self.model.parked.discard(each)
            elif not is_patient:
                self.model.end(each, "x")

    def unfinished(self) -> list[str]:
        return [each for each in self.model.listener if each not in self.model.ended]

    def published(self) -> list[str]:
        found: list[str] = self.client.zrange(self.key("l:published"), 0, -1)
        return found

    @invariant()
    def nothing_is_lost(self) -> None:
        """What has not ended is somewhere, from where it goes on; what has is nowhere."""
        ready = set(self.client.lrange(self.key("l:ready"), 0, -1))
        published = {each for joined in self.published() for each in joined.split()}
        claims = self.client.hgetall(self.key("l:claims"))
        assert claims == self.model.claims
        assert set(self.client.hkeys(self.key("l:parked"))) == self.model.parked
        unfinished = set(self.unfinished())
        assert set(self.client.hkeys(self.key("l:dispatches"))) == unfinished
        assert unfinished <= ready | published | claims.keys() | self.model.parked

    @invariant()
    def each_ends_once(self) -> None:
        rows = [row for _, row in self.client.xrange(self.key(f"s:{STREAM}")) if "i" in row]
        ends = {row["i"]: "o" if "o" in row else "x" for row in rows}
        assert ends == self.model.ended
        assert len(rows) == len(ends)

    @invariant()
    def all_is_counted(self) -> None:
        counts = self.client.hgetall(self.key("l:counts"))
        assert int(counts.get("dispatched", 0)) == len(self.model.listener)
        assert int(counts.get("completed", 0)) == list(self.model.ended.values()).count("o")
        assert int(counts.get("late_outcomes", 0)) == self.model.late

    def finish_everything(self) -> None:
        """However things stand, a worker that fits and lives brings all to an end."""
        for worker in ("w1", "w2"):
            self.leave(worker)
        self.beat("w1", set(FINGERPRINTS), 2)
        self.sweep_only(is_patient=True)
        for _ in range(len(self.unfinished())):
            for batch in self.ledger.publishable(100, 100, {}):
                for dispatch_id, _ in self.ledger.claim("w1/1", batch.ids):
                    assert self.ledger.complete("w1/1", {dispatch_id: outcome()}) == [True]
                    self.model.end(dispatch_id, "o")
        assert self.unfinished() == []
        # What was to be published again though a copy had it run.
        assert self.ledger.publishable(100, 100, {}) == []
        self.nothing_is_lost()
        self.each_ends_once()
        for key in ("l:claims", "l:dispatches", "l:published", "l:ready", "l:deaths", "l:streams"):
            assert not self.client.exists(self.key(key)), key


def test_a_dispatch_is_never_lost_and_ends_once(redis_server: RedisServer) -> None:
    """Claims, deaths, releases, lost and repeated messages, in any order."""
    machine = type("Machine", (LedgerMachine,), {"url": redis_server.url})
    run_machine(machine, examples=150, steps=40)
