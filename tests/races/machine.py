"""The races: what two pumps and two workers may do to one another, in any order.

After each step what is in Redis is compared with the model; in the end everybody lives for a
while, all ends, and every key that is left expires.
"""

from hypothesis.stateful import invariant

from backends.mailbox import Answer
from tests.races.model import INBOX
from tests.races.scene import StillPump
from tests.races.worker_races import WorkerRaces

#: Of what live pumps and a live worker do by themselves, until all has ended.
MOST_ROUNDS = 20


class Races(WorkerRaces):
    """Drives real pumps and workers; the model says what must come of it."""

    @invariant()
    def accepted_is_kept_and_is_where_it_should_be(self) -> None:
        """Once each: nothing lost, nothing doubled, nothing taken from one who lives."""
        expected = sorted((key, token.where) for key, token in self.model.tokens.items())
        assert sorted(self.facts.tokens()) == expected

    @invariant()
    def what_has_not_ended_does_not_expire(self) -> None:
        keys = {self.facts.key("s:inbox")} if self.model.is_in_stream() else set()
        for scope in self.model.scopes.values():
            keys |= {self.facts.key(f"{kind}:{scope.conversation}") for kind in "vt"}
        fleeting = {key for key in keys if self.client.pttl(key) >= 0}
        assert not fleeting, fleeting

    @invariant()
    def each_run_has_one_owner(self) -> None:
        assert self.facts.claims() == self.runs.claims

    @invariant()
    def each_death_counts_against_what_was_run(self) -> None:
        counted = {each: self.runs.deaths[each] for each in self.runs.tokens}
        assert self.facts.deaths() == {each: count for each, count in counted.items() if count}

    @invariant()
    def each_scope_counts_what_keeps_it_open(self) -> None:
        units: dict[str, dict[str, int]] = {}
        for name, scope in self.model.scopes.items():
            units.setdefault(scope.conversation, {})[name] = self.model.units(name)
        for root in self.model.roots.values():
            expected = units.get(root.conversation, {})
            assert self.facts.units(root.conversation) == expected
            assert self.facts.scatters(root.conversation) == self.model.scatters(root.conversation)

    @invariant()
    def each_answer_and_each_slot_enters_once(self) -> None:
        for name, root in self.model.roots.items():
            assert self.facts.answer(root.conversation, name) == root.answer
            assert self.facts.slots(root.conversation) == self.model.slots[root.conversation]
        counts = self.facts.counts()
        assert counts.get("accepted", 0) + counts.get("replayed", 0) == len(self.model.roots)
        assert counts.get("late_answers", 0) == self.model.late_answers

    def teardown(self) -> None:
        try:
            if self.pumps:
                self.finish_everything()
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        for pump in self.pumps.values():
            self.do(pump.kill())
        self.loop.close()
        for key in self.client.scan_iter(match=f"{self.config.redis_prefix}*", count=1000):
            self.client.delete(key)
        self.client.close()
        self.ledger.close()

    def finish_everything(self) -> None:
        """However things stand, all ends once everybody lives for a while."""
        for worker in ("w1", "w2"):
            self.stop_worker(worker)
        while self.dead:
            self.a_dead_pumps_lease_ends("A")
        for _ in range(MOST_ROUNDS):
            self.advance()
            if not self.model.tokens:
                break
        assert not self.model.tokens, self.model.tokens
        self.accepted_is_kept_and_is_where_it_should_be()
        self.each_scope_counts_what_keeps_it_open()
        self.each_answer_and_each_slot_enters_once()
        assert not self.client.exists(self.facts.key("i:open"))
        letters = {each.decode() for each in self.client.hkeys(self.facts.key("l:letters"))}
        assert letters == set(self.model.letters)
        for pump in self.pumps.values():
            self.do(pump.take_the_rest(self.facts))
            self.everybody_was_told(pump)
            self.do(pump.stop())
        self.pumps.clear()
        eternal = [key for key, ttl_ms in self.facts.keys().items() if ttl_ms < 0]
        assert not eternal, eternal

    def advance(self) -> None:
        """One round of what live pumps and a live worker do by themselves."""
        self.worker_beats("w1")
        self.retries_fall_due()
        self.beat("A")
        self.beat("B")
        self.publish_again()
        for batch in self.ledger.publishable(100, 100, {}):
            found = self.ledger.claim("w1/1", batch.ids)
            self.runs.claims |= {each: "w1/1" for each, _ in found}
        if self.runs.claims:
            self.complete(0, 0.0, is_deaf=False)
        for slot, pump in self.pumps.items():
            if self.model.at(INBOX) or self.unseen(pump):
                self.take(slot, 10)
        while self.has_work():
            is_deaf = bool(len(self.model.tokens) % 2)
            self.settle(0, 0, None, Answer(False, b"last"), is_deaf=is_deaf, is_dead=False)

    def everybody_was_told(self, pump: StillPump) -> None:
        self.do(pump.read_news())
        assert pump.asked <= pump.closed
        assert pump.answers == {
            scope: root.answer
            for scope, root in self.model.roots.items()
            if scope in pump.asked and root.answer is not None
        }
