"""What enters from outside, by whichever pump."""

from hypothesis.stateful import initialize, precondition, rule

from backends.mailbox import Envelope, Opening
from tests.races.scene import first_of, skewed
from tests.races.stage import Stage, deaf, positions, pumps, skews


class OpeningRaces(Stage):
    """Rules about openings."""

    @initialize(skew=skews)
    def begin(self, skew: float) -> None:
        for slot in "AB":
            self.start(slot, skew if slot == "A" else 0.0)
        self.let_judge()
        self.open("A", is_deaf=False)
        self.begin_alone("A", is_deaf=False)

    @rule(slot=pumps, is_deaf=deaf)
    def open(self, slot: str, *, is_deaf: bool) -> None:
        """A message from outside, under an id of its sender's."""
        self.count("open")
        self.enter(self.name("c"), slot, is_deaf=is_deaf)

    @precondition(lambda self: self.model.slots)
    @rule(slot=pumps, position=positions, is_deaf=deaf)
    def open_within(self, slot: str, position: int, *, is_deaf: bool) -> None:
        """The same, into a conversation that there is: open, ended, or nothing but a message."""
        self.count("open_within")
        conversations = list(self.model.slots)
        self.enter(conversations[position % len(conversations)], slot, is_deaf=is_deaf)

    def enter(self, conversation: str, slot: str, *, is_deaf: bool) -> None:
        pump = self.pumps[slot]
        scope, key = self.name("s"), self.name("m")
        is_new = not self.model.is_open(conversation)
        record = self.slot_of(conversation)
        self.model.open(conversation, scope, key, record.data)
        pump.asked.add(scope)
        self.opened.append(scope)
        envelope = self.envelope(key, self.model.tokens[key])
        pump.is_deaf = is_deaf
        with skewed(pump.skew_s):
            found = self.do(pump.open(Opening([envelope], [record], f"id-{scope}")))
        pump.is_deaf = False
        # Sent twice it must not look like somebody else's.
        assert (found.conversation, found.is_duplicate) == (conversation, False)
        # Whether it was the first is forgotten with the reply.
        assert found.is_new == is_new or is_deaf
        self.arrive(pump, key)

    @rule(slot=pumps, is_deaf=deaf)
    def begin_alone(self, slot: str, *, is_deaf: bool) -> None:
        """A message that begins a conversation of no name: nothing is kept of it but its entry."""
        self.count("begin_alone")
        pump, name = self.pumps[slot], self.name("c")
        record = self.first_slot_of(name)
        self.model.open(name, name, name, record.data)
        pump.asked.add(name)
        pump.is_deaf = is_deaf
        with skewed(pump.skew_s):
            found = self.do(pump.open(Opening([first_of(name)], [record])))
        pump.is_deaf = False
        assert (found.conversation, found.is_duplicate, found.is_new) == (name, False, True)
        self.arrive(pump, name)

    @rule(slot=pumps, position=positions)
    def open_again(self, slot: str, position: int) -> None:
        """The same message id, by whichever pump: it joins what the first one began."""
        self.count("open_again")
        pump = self.pumps[slot]
        scope = self.opened[position % len(self.opened)]
        root = self.model.roots[scope]
        stranger = self.name("c")
        envelope = Envelope(self.name("m"), stranger, scope, "@x.y.to", stranger, "to", "me", b"")
        with skewed(pump.skew_s):
            found = self.do(pump.open(Opening([envelope], [self.slot_of(stranger)], f"id-{scope}")))
        assert found.is_duplicate
        assert found.conversation == root.conversation
        assert (found.is_closed, found.answer) == (scope not in self.model.scopes, root.answer)
        if found.answer is not None:
            assert pump.answers.setdefault(scope, found.answer) == found.answer
        if found.is_closed:
            pump.closed.add(scope)
        pump.asked.add(scope)
