"""What pumps may do, and what may be done to them."""

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import precondition, rule
from msgspec import structs

from backends.errors import LetterNotFoundError
from backends.mailbox import (
    Answer,
    Effects,
    Envelope,
    Gathering,
    Hop,
    Letter,
    Returned,
    Scatter,
    Settlement,
)
from backends.redis.archive import Archive
from backends.redis.arguments import dispatch_id_of
from tests.races.model import DELAYED, INBOX, LEDGER, Token, Told
from tests.races.opening_races import OpeningRaces
from tests.races.scene import StillPump, key_of, signing, skewed
from tests.races.stage import FINGERPRINT, HOUR_S, deaf, positions, pumps, skews

answers = st.sampled_from(
    [None, Answer(False, b"yes"), Answer(False, b"also"), Answer(True, b"no")]
)


def scatter_of(base: Envelope, gather: str, members: list[str] | None) -> list[Scatter]:
    """One scatter, or none."""
    if members is None:
        return []
    reply_to = structs.replace(base, id=gather, payload=b"", attempt=1)
    return [
        Scatter(
            reply_to,
            [structs.replace(reply_to, id=name, scope=name, payload=b"p") for name in members],
        )
    ]


async def applied(pump: StillPump, settlement: Settlement) -> Effects:
    return await pump.settle(settlement)


class PumpRaces(OpeningRaces):
    """Rules about pumps."""

    @precondition(lambda self: self.model.at(INBOX) or self.unseen())
    @rule(slot=pumps, limit=st.integers(1, 4))
    def take(self, slot: str, limit: int) -> None:
        pump = self.pumps[slot]
        if not self.model.at(INBOX) and not self.unseen(pump):
            return
        self.count("take")
        unseen = self.unseen(pump)
        with skewed(pump.skew_s):
            works = self.do(pump.take(limit))
        assert 0 < len(works) <= limit
        for work in works:
            key = key_of(work)
            token = self.model.tokens[key]
            assert token.where == INBOX or key in unseen, (key, token)
            assert isinstance(work, Gathering) == token.is_gather
            if isinstance(work, Gathering):
                assert work.answers == self.model.gathered[key]
            self.model.put(key, pump.pump)
            pump.hands[key], pump.moves[key] = work, token.moves
        pump.is_unseeing = bool(self.unseen(pump))

    def unseen(self, only: StillPump | None = None) -> set[str]:
        """What a pump holds without knowing."""
        found = set()
        for pump in [only] if only else self.pumps.values():
            if pump.is_unseeing:
                held = self.model.at(pump.pump)
                found |= {key for key in held if not self.is_holding(pump, key)}
        return found

    @precondition(lambda self: self.model.at(INBOX))
    @rule(
        slot=pumps,
        limit=st.integers(1, 4),
        sends=st.integers(0, 1),
        members=st.none() | st.integers(1, 2),
        answer=answers,
        is_deaf=deaf,
        is_dead=st.booleans(),
    )
    def work_off(  # noqa: PLR0913 - as `settle`
        self,
        slot: str,
        limit: int,
        sends: int,
        members: int | None,
        answer: Answer | None,
        *,
        is_deaf: bool,
        is_dead: bool,
    ) -> None:
        """All that pumps hold is settled, one after the other."""
        self.take(slot, limit)
        while self.has_work():
            self.settle(0, sends, members, answer, is_deaf=is_deaf, is_dead=is_dead)

    @precondition(lambda self: self.model.at(INBOX))
    @rule(slot=pumps)
    def take_is_lost(self, slot: str) -> None:
        """Entries are handed to a pump, and the answer goes astray."""
        self.count("take_is_lost")
        pump = self.pumps[slot]
        self.do(pump.lose(10_000))
        self.model.move(INBOX, pump.pump)

    @precondition(lambda self: self.has_work())
    @rule(
        position=positions,
        sends=st.integers(0, 2),
        members=st.none() | st.integers(0, 3),
        answer=answers,
        is_deaf=deaf,
        is_dead=st.booleans(),
    )
    def settle(  # noqa: PLR0913 - a hop may do as many things
        self,
        position: int,
        sends: int,
        members: int | None,
        answer: Answer | None,
        *,
        is_deaf: bool,
        is_dead: bool,
    ) -> None:
        """A handler is done. Too late, where somebody else was given its message."""
        pump, key, work = self.pick(position)
        taken = work.envelope if isinstance(work, Returned) else work
        base = taken.reply_to if isinstance(taken, Gathering) else taken
        record = self.slot_of(base.conversation)
        names = [self.name("m") for _ in range(sends)]
        scattered = None if members is None else [self.name("m") for _ in range(members)]
        gather = self.name("g")
        hop = Hop(key, "to", "me", base.thread_id, base.chain, "T", "here:1", 1, 0.0, 0.0)
        settlement = Settlement(
            taken,
            [record],
            [structs.replace(base, id=name, payload=b"payload", attempt=1) for name in names],
            scatter_of(base, gather, scattered),
            [] if answer is None else [answer],
            hop,
            Letter(base, "code", "why", 0.0) if is_dead else None,
        )
        is_ours = self.is_holding(pump, key)
        self.count("settle" if is_ours else "settle_too_late")
        pump.is_deaf = is_deaf
        with skewed(pump.skew_s):
            effects = self.do(applied(pump, settlement))
            pump.is_deaf = False
            self.do(pump.settle_down())
        pump.hear(effects)
        del pump.hands[key]
        if not is_ours:
            assert effects == Effects([], [], [])
            return
        self.model.slots[base.conversation].append(record.data)
        scope = self.model.tokens[key].scope
        for name in names:
            self.model.tokens[name] = Token(scope)
        if scattered is not None:
            self.model.scatter(scope, gather, scattered)
        for name in names + (scattered or []):
            self.arrive(pump, name)
        if is_dead:
            self.model.letters[key] = base.conversation, bool(base.payload)
        told = Told()
        if answer is not None:
            self.model.answer(scope, answer, told)
        self.model.end(key, told)
        if not is_deaf:
            self.check(pump, effects, told)

    def check(self, pump: StillPump, effects: Effects, told: Told) -> None:
        mine = pump.asked
        assert effects.answered == [each for each in told.answered if each[0] in mine]
        assert effects.closed_scopes == [each for each in told.closed if each in mine]
        assert effects.closed_conversations == told.ended
        assert effects.dropped_answers == told.dropped

    @precondition(lambda self: self.has_work(Envelope | Returned) and not self.model.at(INBOX))
    @rule(position=positions, slot=pumps)
    def a_copy_comes(self, position: int, slot: str) -> None:
        """Of an entry that has been settled: it changes nothing."""
        pump, key, work = self.pick(position)
        if isinstance(work, Gathering) or not self.is_holding(pump, key):
            return
        fields = self.facts.entry(pump.entry_of(work))
        self.settle(position, 0, None, None, is_deaf=False, is_dead=False)
        if self.model.at(INBOX) or self.unseen():
            return
        self.count("a_copy_comes")
        self.client.xadd(self.facts.key("s:inbox"), fields)
        other = self.pumps[slot]
        (copy,) = self.do(other.take(1))
        taken = copy.envelope if isinstance(copy, Returned) else copy
        assert isinstance(taken, Envelope)
        record = self.slot_of(taken.conversation)
        answer = Answer(False, b"copy")
        settlement = Settlement(taken, [record], [taken], [], [answer], None, None)
        assert self.do(applied(other, settlement)) == Effects([], [], [])
        self.do(other.settle_down())

    @precondition(lambda self: self.model.letters)
    @rule(position=positions)
    def replay(self, position: int) -> None:
        """A dead letter runs again; to replay it twice is refused."""
        found = [letter for letter, (_, may_run) in self.model.letters.items() if may_run]
        if not found:
            return
        self.count("replay")
        letter = found[position % len(found)]
        conversation, _ = self.model.letters[letter]
        key, scope = self.name("m"), self.name("s")
        with (
            Archive(self.config, signing(self.config.redis_prefix)) as archive,
            patch("backends.redis.archive.uuid4", lambda: SimpleNamespace(hex=key)),
            patch("backends.chains.new_thread_id", lambda: scope),
        ):
            assert archive.replay(letter) == conversation
            with pytest.raises(LetterNotFoundError):
                archive.replay(letter)
        self.model.replay(letter, scope, key)

    def give_away(
        self, pump: StillPump, key: str, action: Coroutine[Any, Any, None], *, is_deaf: bool
    ) -> bool:
        """A pump ends its part in some work by *action*; whether that was still its own."""
        is_ours = self.is_holding(pump, key)
        pump.is_deaf = is_deaf
        with skewed(pump.skew_s):
            self.do(action)
        pump.is_deaf = False
        del pump.hands[key]
        return is_ours

    @precondition(lambda self: self.has_work(Envelope | Returned))
    @rule(position=positions, is_deaf=deaf)
    def defer(self, position: int, *, is_deaf: bool) -> None:
        """It failed, and is to be tried again later."""
        pump, key, work = self.pick(position, Envelope | Returned)
        self.count("defer")
        envelope = work.envelope if isinstance(work, Returned) else work
        assert isinstance(envelope, Envelope)
        again = structs.replace(envelope, attempt=envelope.attempt + 1, payload=b"payload")
        if self.give_away(pump, key, pump.defer(again, HOUR_S), is_deaf=is_deaf):
            self.model.put(key, DELAYED)
            self.model.tokens[key].attempt = again.attempt

    @precondition(lambda self: self.model.at(INBOX))
    @rule(slot=pumps, limit=st.integers(1, 4), is_deaf=deaf)
    def put_off(self, slot: str, limit: int, *, is_deaf: bool) -> None:
        """All that pumps hold has failed."""
        self.count("put_off")
        self.take(slot, limit)
        while self.has_work(Envelope | Returned):
            self.defer(0, is_deaf=is_deaf)

    @precondition(lambda self: self.has_work(Envelope))
    @rule(position=positions, is_deaf=deaf)
    def dispatch(self, position: int, *, is_deaf: bool) -> None:
        """It is for the workers."""
        pump, key, envelope = self.pick(position, Envelope)
        self.count("dispatch")
        assert isinstance(envelope, Envelope)
        if self.give_away(pump, key, pump.dispatch(envelope, FINGERPRINT), is_deaf=is_deaf):
            self.model.put(key, LEDGER)
            self.runs.tokens[dispatch_id_of(envelope)] = key

    @rule(slot=pumps)
    def beat(self, slot: str) -> None:
        """Its timer: the lease, due retries, and what the dead held."""
        self.count("beat")
        pump = self.pumps[slot]
        with skewed(pump.skew_s):
            self.do(pump.beat())
        self.sweep()

    @rule(slot=pumps)
    def read_news(self, slot: str) -> None:
        self.count("read_news")
        self.do(self.pumps[slot].read_news())

    @precondition(lambda self: self.model.at(DELAYED))
    @rule()
    def retries_fall_due(self) -> None:
        self.count("retries_fall_due")
        key = self.facts.key("i:delayed")
        for member in self.client.zrange(key, 0, -1):
            self.client.zadd(key, {member: 1})
        self.due = set(self.model.at(DELAYED))

    @rule(slot=pumps, skew=skews)
    def kill_pump(self, slot: str, skew: float) -> None:
        """SIGKILL; another one starts. What it held stays its own until its lease ends."""
        self.count("kill_pump")
        pump = self.pumps[slot]
        self.do(pump.kill())
        if pump.is_leased:
            self.dead.append(pump.pump)
        else:
            self.model.move(pump.pump, INBOX)
        self.start(slot, skew)

    @precondition(lambda self: self.dead)
    @rule(slot=pumps)
    def a_dead_pumps_lease_ends(self, slot: str) -> None:
        """Whoever beats next takes over what it held."""
        self.count("a_dead_pumps_lease_ends")
        gone = self.dead.pop(0)
        self.lapse(f"p:{gone}")
        self.beat(slot)
        self.model.move(gone, INBOX)

    @rule(slot=pumps)
    def a_pump_stands_still(self, slot: str) -> None:
        """For longer than its lease, and goes on as if nothing had been."""
        self.count("a_pump_stands_still")
        pump = self.pumps[slot]
        self.lapse(f"p:{pump.pump}")
        pump.is_leased = False
        self.beat("B" if slot == "A" else "A")

    @precondition(lambda self: self.has_work())
    @rule(position=positions, answer=answers)
    def come_too_late(self, position: int, answer: Answer | None) -> None:
        """A pump stood still in the middle of a hop, and goes on with what is another's by now."""
        self.count("come_too_late")
        pump, key, _ = self.pick(position)
        self.a_pump_stands_still("A" if pump is self.pumps["A"] else "B")
        assert not self.is_holding(pump, key)
        self.settle(position, 1, 2, answer, is_deaf=False, is_dead=True)

    @precondition(lambda self: not self.due)
    @rule(slot=pumps)
    def redis_was_away(self, slot: str) -> None:
        """Every lease has lapsed meanwhile, and nobody is judged by that."""
        self.count("redis_was_away")
        alive = self.facts.key("i:alive")
        before = sorted(self.facts.tokens())
        members = dict(self.client.zrange(alive, 0, -1, withscores=True))
        self.client.zadd(alive, dict.fromkeys(members, 1))
        seconds, _ = self.client.time()
        self.let_judge(seconds * 1000)
        self.do(self.pumps[slot].beat())
        assert sorted(self.facts.tokens()) == before
        self.client.zadd(alive, members)
        self.let_judge()

    @rule(slot=pumps, skew=skews)
    def stop_pump(self, slot: str, skew: float) -> None:
        """In good order: what it held is taken by others at once."""
        self.count("stop_pump")
        pump = self.pumps[slot]
        self.do(pump.stop())
        self.model.move(pump.pump, INBOX)
        self.start(slot, skew)
