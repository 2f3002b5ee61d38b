"""Who races: two real pumps and a ledger's client, beside the model; and what all rules use."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import hypothesis.strategies as st
import redis
from hypothesis.stateful import RuleBasedStateMachine

from backends import BackendConfig
from backends.mailbox import Envelope, Work
from backends.protocol import SlotRecord
from backends.redis.ledger import Batch, LedgerClient
from tests.races.model import INBOX, LEDGER, Model, Runs, Token
from tests.races.scene import (
    MAX_ATTEMPTS,
    TERMS,
    TYPED,
    Facts,
    StillPump,
    first_of,
    signing,
    skewed,
)

HOUR_S = 3600.0
FINGERPRINT = "f"

T = TypeVar("T")
pumps = st.sampled_from(["A", "B"])
positions = st.integers(0, 50)
#: How far the clocks of hosts are wrong, in seconds.
skews = st.sampled_from([0.0, -HOUR_S, HOUR_S, 10 * 365 * 24 * HOUR_S])
#: Whether an answer of Redis is lost, so that its command runs twice.
deaf = st.booleans()


class Stage(RuleBasedStateMachine):
    """Everything but the rules."""

    url: ClassVar[str] = ""
    #: How often each rule ran, in all examples.
    ran: ClassVar[Counter[str]] = Counter()
    #: Seconds that one step of a pump may take.
    patience_s: ClassVar[float] = 20.0

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        prefix = f"test-{uuid4().hex}:"
        self.config = BackendConfig(
            "redis", redis_url=self.url, redis_prefix=prefix, redis_ttl=600, keep_closed=10_000
        )
        self.client: Any = redis.Redis.from_url(self.url)
        self.facts = Facts(self.client, prefix)
        self.ledger = LedgerClient(self.config, signing(prefix), TERMS)
        self.model, self.runs = Model(), Runs(MAX_ATTEMPTS)
        self.pumps: dict[str, StillPump] = {}
        #: Pumps that were killed and not yet buried, in that order: their names are random.
        self.dead: list[str] = []
        #: Retries whose time has come.
        self.due: set[str] = set()
        #: Every message the broker ever had; it may hand out each of them at any time.
        self.broker: list[Batch] = []
        self.opened: list[str] = []
        #: Whether a batch was claimed, later than any that is long on its way.
        self.is_marked = False
        self.names = 0

    def do(self, action: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(action, self.patience_s))

    def count(self, name: str) -> None:
        type(self).ran[name] += 1

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    def start(self, slot: str, skew_s: float) -> None:
        with skewed(skew_s):
            self.pumps[slot] = StillPump(self.config, skew_s)
            if slot == "B":
                # What it sends goes to the workers without a pump's taking it first.
                self.pumps[slot].fingerprints = {"to": FINGERPRINT}
            self.do(self.pumps[slot].start())
        self.sweep()

    def let_judge(self, since: int = 0) -> None:
        """Redis has been there for long enough to judge who is dead, or only since *since*."""
        self.client.hset(self.facts.key("l:service"), "since", since)

    def lapse(self, member: str) -> None:
        self.client.zadd(self.facts.key("i:alive"), {member: 1})

    def sweep(self) -> None:
        """What a beat of any pump does to the model."""
        while self.due:
            self.model.put(self.due.pop(), INBOX)
        for pump in self.pumps.values():
            if not pump.is_leased:
                self.model.move(pump.pump, INBOX)

    def arrive(self, pump: StillPump, key: str) -> None:
        """A message that *pump* has sent is where it is to wait."""
        if pump.fingerprints:
            self.model.put(key, LEDGER)
            self.runs.tokens[key] = key

    def envelope(self, key: str, token: Token) -> Envelope:
        conversation = self.model.scopes[token.scope].conversation
        chain = f"@{conversation}.external.to"
        payload = b"payload"
        return Envelope(
            key, conversation, token.scope, chain, conversation, "to", "me", payload, token.attempt
        )

    def slot_of(self, conversation: str) -> SlotRecord:
        data = self.name("slot").encode()
        return SlotRecord(conversation, f"@{conversation}.external.to", data)

    def first_slot_of(self, conversation: str) -> SlotRecord:
        """From which the first message follows."""
        codec = signing(self.config.redis_prefix)
        data = codec.seal_slot(TYPED, conversation, "external", "to")
        return SlotRecord(conversation, first_of(conversation).chain, data)

    def pick(self, position: int, kind: Any = Work) -> tuple[StillPump, str, Work]:
        """A piece of work in any pump's hands."""
        found = [
            (pump, key, work)
            for pump in self.pumps.values()
            for key, work in sorted(pump.hands.items())
            if isinstance(work, kind)
        ]
        return found[position % len(found)]

    def has_work(self, kind: Any = Work) -> bool:
        return any(
            isinstance(work, kind) for pump in self.pumps.values() for work in pump.hands.values()
        )

    def is_holding(self, pump: StillPump, key: str) -> bool:
        token = self.model.tokens.get(key)
        return token is not None and token.where == pump.pump and pump.moves.get(key) == token.moves
