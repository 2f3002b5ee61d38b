"""Real pumps and workers that do nothing by themselves: whoever races them says what is next."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import redis

from backends import BackendConfig
from backends.chains import conversation_chain
from backends.codec import Codec
from backends.mailbox import Answer, Effects, Envelope, Gathering, Returned, Work
from backends.redis import arguments
from backends.redis.caretaker import Caretaker
from backends.redis.inbox import GROUP
from backends.redis.mailbox import RedisMailbox
from backends.redis.records import Records
from backends.redis.streams import message_of
from backends.terms import Terms
from tests.fleet import SIGNING_KEY

MAX_ATTEMPTS = 2
#: Long, so that a lease ends when the race says so and not before.
TERMS = Terms(lease_s=600, max_attempts=MAX_ATTEMPTS)
PRESENT = time.time
#: A payload as the codec writes it: its type's name, and itself.
TYPED = msgspec.msgpack.encode(("T", 1))


def signing(prefix: str) -> Codec:
    """What all of them sign with."""
    return Codec(keys=[SIGNING_KEY], realm=prefix)


def key_of(work: Work) -> str:
    """The model's name for a piece of work."""
    if isinstance(work, Gathering):
        return work.reply_to.id
    return work.envelope.id if isinstance(work, Returned) else work.id


def first_of(conversation: str) -> Envelope:
    """The message that begins a conversation of no name."""
    chain = conversation_chain("", conversation, "external", "to")
    ids = conversation, conversation, conversation, chain, conversation
    return Envelope(*ids, "to", "external", TYPED, is_from_outside=True)


@contextmanager
def skewed(seconds: float) -> Iterator[None]:
    """A host's clock that goes wrong by so much."""
    with patch("time.time", lambda: PRESENT() + seconds):
        yield


class StillPump(RedisMailbox):
    """A pump's mailbox without its own threads and tasks."""

    def __init__(self, config: BackendConfig, skew_s: float) -> None:
        super().__init__(config, signing(config.redis_prefix), TERMS)
        self.skew_s = skew_s
        #: What its handlers work on.
        self.hands: dict[str, Work] = {}
        #: How often each of these had changed hands when it was taken.
        self.moves: dict[str, int] = {}
        self.answers: dict[str, Answer] = {}
        self.closed: set[str] = set()
        #: Root scopes that it began, or joined.
        self.asked: set[str] = set()
        #: False from the day it was taken for dead until it beats again.
        self.is_leased = True
        self.is_unseeing = False
        self.on_news = self.hear
        #: Every script runs twice, as if the first answer had been lost.
        self.is_deaf = False
        run = self._scripts.run

        async def run_again(name: str, *arguments: Any) -> Any:
            is_deaf = self.is_deaf and name != "recall"
            if is_deaf:
                await run(name, *arguments)
            reply = await run(name, *arguments)
            if is_deaf:
                # As whenever Redis is back.
                self._news.ask()
            return reply

        self._scripts.run = run_again  # type: ignore[method-assign, assignment]

    async def start(self) -> None:
        """Connect, and beat once."""
        self._loop = asyncio.get_running_loop()
        await self._scripts.start()
        self._caretaker = Caretaker(
            self._config.redis_url,
            self._head,
            self.pump,
            terms=TERMS,
            contact=self._contact,
            on_beat=self._beaten,
        )
        await self.beat()

    async def beat(self) -> None:
        """One beat and one sweep, as its timer would."""
        assert self._caretaker is not None
        self._caretaker._tick()
        self.is_leased = True
        await self.settle_down()

    async def read_news(self) -> None:
        """Read its own stream to the end, as its task would."""
        stream = f"{self._config.redis_prefix}s:{self.pump}"
        if await self._client.xlen(stream):
            reading = asyncio.create_task(self._news.read(1))
            while await self._client.xlen(stream):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await self.settle_down()

    async def settle_down(self) -> None:
        """Until it has no question open."""
        await asyncio.sleep(0)
        while self._news._asking:
            await asyncio.gather(*self._news._asking)
            await asyncio.sleep(0)

    def hear(self, effects: Effects) -> None:
        """What it is told of its own, whichever way."""
        for scope, answer in effects.answered:
            assert self.answers.setdefault(scope, answer) == answer, "answered twice"
        self.closed.update(effects.closed_scopes)

    async def lose(self, limit: int) -> None:
        """What is handed to it does not arrive."""
        await self._client.xreadgroup(GROUP, self.pump, {self._inbox._stream: ">"}, count=limit)
        self._inbox._unseen_after = "0"
        self.is_unseeing = True

    async def take_the_rest(self, facts: "Facts") -> None:
        """Take what is no work: a pump that lives reads on."""
        if facts.left_for(self.pump):
            taking = asyncio.create_task(self.take(10))
            while facts.left_for(self.pump):
                await asyncio.sleep(0.001)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    def entry_of(self, work: Work) -> bytes:
        """The stream entry that it would end."""
        return self._held._entries[arguments.key_of(work)][-1]

    async def kill(self) -> None:
        """End without a word."""
        await self._news.stop()
        await self._scripts.stop()
        assert self._caretaker is not None
        self._caretaker._client.close()
        self._caretaker._client.connection_pool.disconnect()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


class Facts:
    """What Redis really holds under one prefix."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client: Any = client
        self.prefix = prefix
        self._records = Records(signing(prefix))

    def key(self, rest: str) -> str:
        return f"{self.prefix}{rest}"

    def tokens(self) -> list[tuple[str, str]]:
        """Each token and where it is: `inbox`, `delayed`, `ledger` or the pump that holds it."""
        inbox = self.key("s:inbox")
        holders = self._holders()
        found = []
        for entry, fields in self.client.xrange(inbox):
            if b"w" not in fields:
                key = fields[b"g"].decode() if b"g" in fields else self._of(fields)
                found.append((key, holders.get(entry, "inbox")))
        found += [(key.decode(), "delayed") for key in self.client.hkeys(self.key("l:delayed"))]
        ids = self.client.hkeys(self.key("l:dispatches"))
        return found + [(each.decode().partition("~")[0], "ledger") for each in ids]

    def left_for(self, pump: str) -> int:
        """Entries of the inbox that no other pump holds, those that only wake one included."""
        entries = self.client.xrange(self.key("s:inbox"))
        holders = self._holders()
        return sum(holders.get(entry, pump) == pump for entry, _ in entries)

    def _holders(self) -> dict[bytes, str]:
        inbox = self.key("s:inbox")
        if not self.client.exists(inbox):
            return {}
        pending = self.client.xpending_range(inbox, GROUP, "-", "+", 10_000)
        return {row["message_id"]: row["consumer"].decode() for row in pending}

    def _of(self, fields: dict[bytes, bytes]) -> str:
        return key_of(message_of(self._records, fields))

    def entry(self, entry: bytes) -> dict[bytes, bytes]:
        """The fields of one entry of the inbox."""
        ((_, fields),) = self.client.xrange(self.key("s:inbox"), entry, entry)
        return dict(fields)

    def _folded(self, conversation: str) -> dict[bytes, bytes] | None:
        """The entry that a conversation stands in, where it is nothing else yet."""
        if self.client.zscore(self.key("i:open"), conversation) is None:
            return None
        for _, fields in self.client.xrange(self.key("s:inbox")):
            if b"l" in fields and fields[b"l"].decode() == first_of(conversation).chain:
                return dict(fields)
        return None

    def units(self, conversation: str) -> dict[str, int]:
        """What each open scope of a conversation counts."""
        fields = self.client.hgetall(self.key(f"v:{conversation}"))
        if not fields and self._folded(conversation):
            return {conversation: 1}
        return {
            name[1:].decode(): msgspec.msgpack.decode(value)[0]
            for name, value in fields.items()
            if name[:1] == b"s"
        }

    def scatters(self, conversation: str) -> set[str]:
        """Those of which anything is kept."""
        names = self.client.hkeys(self.key(f"v:{conversation}"))
        return {name[1:].decode() for name in names if name[:1] in (b"g", b"n", b"k")}

    def answer(self, conversation: str, scope: str) -> Answer | None:
        """What a root scope was answered."""
        record = self.client.hget(self.key(f"v:{conversation}"), f"r{scope}")
        return self._records.open_answer(scope, record) if record else None

    def slots(self, conversation: str) -> list[bytes]:
        """The slots of a conversation's own thread."""
        found: list[bytes] = self.client.lrange(self.key(f"t:{conversation}"), 1, -1)
        folded = None if found else self._folded(conversation)
        return [folded[b"d"]] if folded else found

    def claims(self) -> dict[str, str]:
        """Who has which dispatch."""
        found = self.client.hgetall(self.key("l:claims"))
        return {each.decode(): owner.decode() for each, owner in found.items()}

    def deaths(self) -> dict[str, int]:
        """How often each dispatch is said to have killed its process."""
        found = self.client.hgetall(self.key("l:deaths"))
        return {each.decode(): len(msgspec.msgpack.decode(raw)) for each, raw in found.items()}

    def counts(self) -> dict[str, int]:
        """How often what has happened."""
        found = self.client.hgetall(self.key("l:counts"))
        return {name.decode(): int(value) for name, value in found.items()}

    def keys(self) -> dict[str, int]:
        """Every key, and its time to live in ms."""
        keys = list(self.client.scan_iter(match=f"{self.prefix}*", count=1000))
        return {key.decode().removeprefix(self.prefix): self.client.pttl(key) for key in keys}
