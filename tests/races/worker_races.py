"""What workers may do, and what may be done to them."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from backends.mailbox import Envelope, Hop
from backends.redis.records import Outcome
from tests.races.model import INBOX
from tests.races.pump_races import PumpRaces
from tests.races.scene import skewed
from tests.races.stage import FINGERPRINT, deaf, positions, pumps, skews

workers = st.sampled_from(["w1", "w2"])
processes = st.sampled_from([1, 2])


class WorkerRaces(PumpRaces):
    """Rules about workers, beside those about pumps."""

    @precondition(lambda self: self.model.at(INBOX))
    @rule(slot=pumps, worker=workers, process=processes, size=st.integers(1, 3))
    def hand_over(self, slot: str, worker: str, process: int, size: int) -> None:
        """What is waiting goes all the way to a worker's process."""
        self.count("hand_over")
        self.take(slot, size)
        while self.has_work(Envelope):
            self.dispatch(0, is_deaf=False)
        self.publish(size, 10)
        for position in range(len(self.broker)):
            self.claim(worker, process, position, 0.0, is_deaf=False)

    @precondition(lambda self: self.model.at(INBOX))
    @rule(
        slot=pumps,
        worker=workers,
        wanted=st.integers(1, 3),
        is_published_again=st.booleans(),
        is_deaf=deaf,
    )
    def keep_going(
        self, slot: str, worker: str, wanted: int, *, is_published_again: bool, is_deaf: bool
    ) -> None:
        """Some are published and run, and who is done first goes on with what else there is."""
        self.count("keep_going")
        for _ in range(2):
            self.open("A", is_deaf=False)
        self.take(slot, 4)
        while self.has_work(Envelope):
            self.dispatch(0, is_deaf=False)
        self.ledger.beat(worker, {f"f{FINGERPRINT}": 1, "p": 2})
        self.publish(1, 1)
        if is_published_again:
            self.publish_again()
        for position in range(len(self.broker)):
            self.claim(worker, 1 + position % 2, position, 0.0, is_deaf=False)
        owners = sorted(set(self.runs.claims.values()))
        if f"{worker}/1" in owners:
            self.go_on(owners.index(f"{worker}/1"), wanted, is_deaf=is_deaf)

    @precondition(lambda self: self.runs.tokens)
    @rule(worker=workers)
    def worker_beats(self, worker: str) -> None:
        self.count("worker_beats")
        self.ledger.beat(worker, {f"f{FINGERPRINT}": 1, "p": 2})

    @precondition(lambda self: self.runs.tokens)
    @rule(size=st.integers(1, 3), window=st.integers(1, 3))
    def publish(self, size: int, window: int) -> None:
        self.count("publish")
        for batch in self.ledger.publishable(window, 10, {"to": size}):
            ids = batch.ids.split()
            assert not set(ids) & set(self.runs.claims)
            assert set(ids) <= set(self.runs.tokens)
            self.broker.append(batch)

    @precondition(lambda self: self.runs.tokens)
    @rule()
    def publish_again(self) -> None:
        """As whenever the broker's connection is made anew."""
        self.count("publish_again")
        self.ledger.publish_again()

    @precondition(lambda self: self.broker)
    @rule(worker=workers, process=processes, position=positions, skew=skews, is_deaf=deaf)
    def claim(
        self, worker: str, process: int, position: int, skew: float, *, is_deaf: bool
    ) -> None:
        """A message of the broker's arrives, for the first time or again."""
        self.count("claim")
        owner = f"{worker}/{process}"
        ids = self.broker[position % len(self.broker)].ids
        expected = [
            each
            for each in ids.split()
            if each in self.runs.tokens and self.runs.claims.get(each, owner) == owner
        ]
        published = self.facts.key("l:published")
        self.is_marked |= self.client.zscore(published, ids) is not None
        with skewed(skew):
            if is_deaf:
                self.ledger.claim(owner, ids)
            found = self.ledger.claim(owner, ids)
        assert [each for each, _ in found] == expected
        assert self.client.zscore(published, ids) is None
        self.runs.claims |= dict.fromkeys(expected, owner)

    @precondition(lambda self: self.runs.claims)
    @rule(position=positions, skew=skews, is_deaf=deaf)
    def complete(self, position: int, skew: float, *, is_deaf: bool) -> None:
        """A process hands in all it holds."""
        owners = sorted(set(self.runs.claims.values()))
        owner = owners[position % len(owners)]
        held = self.runs.held_by(owner)
        self.count("complete")
        assert self.hand_in(owner, held, skew) == [True] * len(held)
        for each in held:
            self.finish_run(each)
        if is_deaf:
            assert self.hand_in(owner, held, skew) == [False] * len(held)

    @precondition(lambda self: self.runs.claims)
    @rule(position=positions, wanted=st.integers(1, 3), is_deaf=deaf)
    def go_on(self, position: int, wanted: int, *, is_deaf: bool) -> None:
        """A process hands in all it holds, and takes what waits past the broker."""
        owners = sorted(set(self.runs.claims.values()))
        owner = owners[position % len(owners)]
        held = self.runs.held_by(owner)
        self.count("go_on")
        run = self.ledger._run

        def run_again(name: str, *arguments: Any, again: Sequence[Any]) -> Any:
            run(name, *arguments)
            return run(name, *again)

        outcomes = {each: self.outcome(each) for each in held}
        with patch.object(self.ledger, "_run", run_again if is_deaf else run):
            accepted, taken = self.ledger.go_on(owner, outcomes, "to", wanted)
        assert accepted == [not is_deaf] * len(held)
        assert len(taken) <= wanted
        for each in held:
            self.finish_run(each)
        for each, _ in taken:
            self.count("go_on_takes")
            assert each in self.runs.tokens
            assert each not in self.runs.claims
            self.runs.claims[each] = owner

    @precondition(lambda self: self.is_marked)
    @rule(slot=pumps)
    def the_broker_lost_them(self, slot: str) -> None:
        """What was published long ago, before others that were claimed, is published again."""
        self.count("the_broker_lost_them")
        published = self.facts.key("l:published")
        for batch in self.client.zrange(published, 0, -1):
            self.client.zadd(published, {batch: 1})
        self.beat(slot)
        assert not self.client.exists(published)

    @precondition(lambda self: self.runs.claims)
    @rule(worker=workers, process=processes)
    def complete_what_is_anothers(self, worker: str, process: int) -> None:
        """One that was taken for dead hands in what others run by now."""
        owner = f"{worker}/{process}"
        others = [each for each, holder in self.runs.claims.items() if holder != owner]
        if others:
            self.count("complete_what_is_anothers")
            assert self.hand_in(owner, others, 0.0) == [False] * len(others)

    @precondition(lambda self: self.runs.claims)
    @rule(worker=workers, process=processes, position=positions, lacks=st.booleans())
    def release(self, worker: str, process: int, position: int, *, lacks: bool) -> None:
        """A process won't run what it claimed; what others hold stays theirs."""
        self.count("release")
        owner = f"{worker}/{process}"
        held = self.runs.held_by(owner)
        ids = sorted(self.runs.claims)
        assert self.ledger.release(owner, ids, FINGERPRINT if lacks else "") == len(held)
        for each in held:
            del self.runs.claims[each]

    @precondition(lambda self: self.runs.tokens)
    @rule()
    def the_broker_refuses(self) -> None:
        """What was to be published is put back."""
        self.count("the_broker_refuses")
        self.ledger.put_back(self.ledger.publishable(10, 10, {"to": 2}))

    def hand_in(self, owner: str, ids: list[str], skew: float) -> list[bool]:
        with skewed(skew):
            return self.ledger.complete(owner, {each: self.outcome(each) for each in ids})

    def outcome(self, dispatch_id: str) -> Outcome:
        key = self.runs.tokens.get(dispatch_id)
        known = key in self.model.tokens if key else False
        envelope = (
            self.envelope(key, self.model.tokens[key])
            if key and known
            else Envelope("late", "c", "s", "chain", "t", "to", "me", b"")
        )
        hop = Hop(envelope.id, "to", "me", "t", "chain", "T", "host:1", 1, 0.0, 0.0)
        return Outcome(envelope, b"done", hop)

    def finish_run(self, dispatch_id: str) -> None:
        self.runs.claims.pop(dispatch_id, None)
        self.model.put(self.runs.tokens.pop(dispatch_id), INBOX)

    @precondition(lambda self: self.runs.claims)
    @rule(position=positions, is_known=st.booleans())
    def kill_process(self, position: int, *, is_known: bool) -> None:
        """A process of a live worker dies; what it was running is counted against it."""
        self.count("kill_process")
        owners = sorted(set(self.runs.claims.values()))
        owner = owners[position % len(owners)]
        held = self.runs.held_by(owner)
        running = min(held) if is_known else ""
        worker, _, process = owner.partition("/")
        self.ledger.bury(worker, {int(process): running})
        for each in held:
            if self.runs.bury(each, is_counted=running in ("", each)):
                self.finish_run(each)

    @precondition(lambda self: self.runs.claims)
    @rule(worker=workers, slot=pumps)
    def kill_worker(self, worker: str, slot: str) -> None:
        """Its lease ends, and a pump takes over what it held."""
        self.count("kill_worker")
        if self.client.zscore(self.facts.key("i:alive"), f"w:{worker}") is None:
            return
        self.lapse(f"w:{worker}")
        held = self.runs.held_by(worker)
        self.beat(slot)
        for each in held:
            if self.runs.bury(each, is_counted=True):
                self.finish_run(each)

    @precondition(lambda self: self.runs.tokens)
    @rule(worker=workers)
    def stop_worker(self, worker: str) -> None:
        self.count("stop_worker")
        assert self.ledger.leave(worker) >= len(self.runs.held_by(worker))
        for each in self.runs.held_by(worker):
            self.runs.bury(each, is_counted=False)
