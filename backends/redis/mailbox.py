"""The mailbox of many machines: messages in a stream, counts beside them, all in Redis.

A pump reads the stream by a consumer group and settles each entry in one script. What
concerns a pump alone (the answers of its requests) comes back through a stream of its own.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from backends.cancelling import cancel_all
from backends.codec import Codec
from backends.contact import contact_with
from backends.errors import BackendClosedError, BackendError, BufferFullError, CodecError
from backends.mailbox import Effects, Envelope, Gathering, Opened, Opening, Settlement, Work
from backends.protocol import BackendConfig
from backends.redis.agreement import word_of
from backends.redis.arguments import (
    dispatch_arguments,
    key_of,
    opening_command,
    settlement_arguments,
)
from backends.redis.caretaker import Backlog, Caretaker
from backends.redis.connection import connect_async, describe, disconnect_async
from backends.redis.holding import Holding
from backends.redis.inbox import Inbox
from backends.redis.keys import escape, unescape
from backends.redis.lone_publisher import LonePublication, LonePublisher
from backends.redis.news import News
from backends.redis.pipeliner import Pipeliner, Repeated
from backends.redis.records import Records
from backends.redis.streams import MAX_QUARANTINED, MAX_QUARANTINED_BYTES, message_of
from backends.terms import Terms

log = logging.getLogger(__name__)

#: Messages a pump holds that its handlers have not begun.
WINDOW = 256

_encode = msgspec.msgpack.Encoder().encode


class _Settling(NamedTuple):
    """A settlement on its way; await it for its effects."""

    reply: "asyncio.Future[list[Any]]"
    effects_of: Callable[[list[Any]], Effects]
    #: Called where nothing came of it.
    give_back: Callable[[], None]

    def __await__(self) -> Generator[Any, None, Effects]:
        try:
            return self.effects_of((yield from self.reply.__await__()))
        except BaseException:
            self.give_back()
            raise


class RedisMailbox:
    """A `Mailbox` and `Ledger` that any number of pumps share.

    Args:
        config: of a Redis backend.
        codec: seals and opens what is written.
        terms: when others count as dead.
    """

    window = WINDOW
    is_durable = True

    def __init__(self, config: BackendConfig, codec: Codec, terms: Terms) -> None:
        self.pump = uuid4().hex
        #: Called, from any thread, when there may be dispatches to publish.
        self.on_publishable: Callable[[], None] = lambda: None
        #: Listeners whose messages go to the workers at once, not by way of a pump, and what a
        #: worker must advertise to run them.
        self.fingerprints: dict[str, str] = {}
        self._config = config
        self._records, self._word = Records(codec), word_of(codec)
        self._terms = terms
        self._client: Any = connect_async(config.redis_url)
        self._contact = contact_with(describe(self._client))
        ttl_ms = math.ceil(config.redis_ttl * 1000)
        self._head = (config.redis_prefix, 0, ttl_ms, config.keep_closed)
        self._scripts = Pipeliner(
            self._client,
            self._contact,
            head=self._head,
            on_waiting=self._set_waiting,
            replicas=config.redis_replicas,
        )
        #: Sends what comes alone, if it has a carrier.
        self.lone_publisher = LonePublisher(self._scripts)
        stream = f"{config.redis_prefix}s:{self.pump}"
        self._news = News(self._client, stream, self._scripts, self._records, self._contact)
        self._news.must_be_safe = config.redis_replicas > 0
        self._caretaker: Caretaker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._held = Holding()
        self._inbox = Inbox(
            self._client,
            self._contact,
            stream=f"{config.redis_prefix}s:inbox",
            pump=self.pump,
            held=self._held,
            on_missing=self._hurry,
        )
        #: Openings without a reply, by number, oldest first.
        self._unreplied: dict[int, None] = {}
        self._numbers = count(1)
        self._waiting = 0

    @property
    def on_news(self) -> Callable[[Effects], None]:
        """Called on the event loop with what became of this pump's own messages."""
        return self._news.on_news

    @on_news.setter
    def on_news(self, on_news: Callable[[Effects], None]) -> None:
        self._news.on_news = on_news

    @property
    def waiting(self) -> int:
        """What no pump or worker has taken, whoever sent it, as last heard of."""
        return self._waiting

    @property
    def open_conversations(self) -> int:
        """Conversations that this pump began and that have not ended."""
        return len(self._news.scopes) - len(self._news.entering)

    @property
    def lease_age_s(self) -> float | None:
        """Seconds since this pump last renewed its lease; None while it has none."""
        caretaker = self._caretaker
        return time.monotonic() - caretaker.renewed_at if caretaker is not None else None

    async def start(self) -> None:
        """Make the streams, take a lease, begin to read.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        self._loop = asyncio.get_running_loop()
        await self._scripts.start()
        self._contact.subscribe(self._on_return)
        self._caretaker = Caretaker(
            self._config.redis_url,
            self._head,
            self.pump,
            terms=self._terms,
            contact=self._contact,
            on_beat=self._beaten,
            word=self._word,
        )
        self._caretaker.is_orphaned = self._loop.is_closed
        await asyncio.to_thread(self._caretaker.start)
        reading = self._news.read(self._inbox.block_ms)
        self._tasks.append(asyncio.create_task(reading, name="news"))

    async def open(self, opening: Opening) -> Opened:
        """Accept messages from outside; waits while Redis is away."""
        first = opening.envelopes[0]
        number = next(self._numbers)
        self._news.enter(first.scope, first.conversation, number)
        self._unreplied[number] = None
        opened = None
        try:
            reply = self._send_opening(opening, number)
            publication = self.lone_publisher.publish(opening.envelopes, self.fingerprints)
            opened = self._opened(opening, await reply, publication)
        finally:
            del self._unreplied[number]
            if opened is None:
                self._news.turned_back(first.scope, number)
            else:
                self._news.entered(opened)
        return opened

    def _send_opening(self, opening: Opening, number: int) -> Awaitable[list[Any]]:
        """Have it accepted; the reply."""
        max_slots = self._config.max_slots_per_thread
        command, arguments = opening_command(self._records, opening, max_slots, self.fingerprints)
        replied = next(iter(self._unreplied))
        return self._scripts.run(command, self.pump, number, replied, *arguments)

    def _opened(
        self, opening: Opening, reply: list[Any], publication: LonePublication | None
    ) -> Opened:
        first = opening.envelopes[0]
        status, *rest = reply
        if status == b"slots":
            raise self._full(rest[0])
        if status == b"known":
            conversation, is_closed, record = rest
            answer = self._records.open_answer(first.scope, record) if record else None
            return Opened(
                unescape(conversation),
                first.scope,
                is_duplicate=True,
                is_new=False,
                is_closed=bool(is_closed),
                answer=answer,
            )
        if not self.lone_publisher.was_published(publication):
            self._wake_for(opening.envelopes)
        return Opened(first.conversation, first.scope, is_new=bool(rest[0]))

    async def take(self, limit: int) -> list[Work]:
        """Wait until something can be taken."""
        while True:
            entries = await self._inbox.read(limit)
            work = [each for entry in entries for each in await self._admit(*entry)]
            if any(b"r" in fields for _, fields in entries):
                # A place is free on a worker, and more waits to be published.
                self.on_publishable()
            self._waiting = max(0, self._waiting - len(entries))
            if work:
                return work

    def take_ready(self, limit: int) -> list[Work]:  # noqa: ARG002 - the contract's signature
        """Nothing: what can be taken is not here."""
        return []

    def settle(self, settlement: Settlement) -> Awaitable[Effects]:
        """Apply everything a hop did; waits while Redis is away."""
        key = key_of(settlement.taken)
        arguments = settlement_arguments(
            self._records,
            settlement,
            self._config.max_slots_per_thread,
            self.fingerprints,
            beginning=self._held.beginning(key),
        )
        entry = self._held.take(key)
        reply = self._scripts.run("settle", self.pump, entry, *arguments)
        sent = () if settlement.scatters else settlement.sends
        publication = self.lone_publisher.publish(sent, self.fingerprints)
        effects_of = partial(self._settled, settlement, entry, publication)
        return _Settling(reply, effects_of, partial(self._held.give_back, key, entry))

    def _settled(
        self,
        settlement: Settlement,
        entry: bytes,
        publication: LonePublication | None,
        reply: list[Any],
    ) -> Effects:
        status, *rest = reply
        if status == b"slots":
            raise self._full(rest[0])
        self._held.forget(entry)
        if status != b"ok":
            log.info(
                "settled elsewhere",
                extra={"action": "settle", "message_id": key_of(settlement.taken)},
            )
            self._news.doubt(settlement, may_be_ours=isinstance(reply, Repeated))
            return Effects([], [], [])
        if not self.lone_publisher.was_published(publication):
            self._wake_for(settlement.sends)
        for scatter in settlement.scatters:
            self._wake_for(scatter.members[:1])
        effects = self._news.effects(rest[1:])
        effects.dropped_answers = rest[0]
        return effects

    async def defer(self, envelope: Envelope, delay_s: float) -> None:
        """Put a taken message back, to be taken by any pump after *delay_s* seconds."""
        record, delay_ms = self._records.message(envelope), int(delay_s * 1000)
        with self._held.ending(envelope.id) as entry:
            await self._scripts.run(
                "defer", entry, escape(envelope.conversation), escape(envelope.id), record, delay_ms
            )
        self._hurry()

    async def dispatch(self, envelope: Envelope, fingerprint: str) -> None:
        """Hand a taken message over to the workers."""
        arguments = dispatch_arguments(self._records, envelope, fingerprint)
        with self._held.ending(envelope.id) as entry:
            await self._scripts.run("dispatch", entry, escape(envelope.conversation), *arguments)
        self.on_publishable()

    async def stop(self) -> int:
        """Give back what this pump holds; nothing is lost."""
        self._contact.unsubscribe(self._on_return)
        await cancel_all(self._tasks)
        self._tasks.clear()
        await self._news.stop()
        await self._scripts.stop()
        await self._inbox.close()
        caretaker, self._caretaker = self._caretaker, None
        if caretaker is not None:
            given_back = await asyncio.to_thread(caretaker.stop)
            if given_back:
                log.info("messages left in redis", extra={"action": "stop", "count": given_back})
        await disconnect_async(self._client)
        return 0

    async def _admit(self, entry: bytes, fields: dict[bytes, bytes]) -> list[Work]:
        """The work behind one stream entry; what is none of ours is taken out."""
        try:
            work = await self._open_entry(entry, fields)
        except BackendClosedError:
            raise
        except (BackendError, KeyError, ValueError) as exc:
            # A BackendError too: our script may find nonsense in what the entry points to.
            log.error(  # noqa: TRY400 - a forged record needs no traceback of ours
                "record refused", extra={"action": "quarantine", "reason": str(exc)}
            )
            await self._drop(entry, _encode(fields)[:MAX_QUARANTINED_BYTES])
            return []
        if work is None:
            await self._drop(entry)
            return []
        self._held.add(key_of(work), entry, fields if b"d" in fields else None)
        return [work]

    async def _drop(self, entry: bytes, raw: bytes = b"") -> None:
        try:
            await self._scripts.run("drop", entry, raw, MAX_QUARANTINED)
        except BackendClosedError:
            raise
        except BackendError as exc:
            # Somebody broke our keys; a pump that stopped reading would be worse.
            log.warning("entry not dropped", extra={"action": "drop", "reason": exc})

    async def _open_entry(self, entry: bytes, fields: dict[bytes, bytes]) -> Work | None:
        if b"g" in fields:
            return await self._gathering(unescape(fields[b"c"]), unescape(fields[b"g"]))
        if b"w" in fields:
            self.on_publishable()
            return None
        return message_of(self._records, fields, entry)

    async def _gathering(self, conversation: str, gather_id: str) -> Gathering | None:
        found = await self._scripts.run("gathered", escape(conversation), escape(gather_id))
        if not found:
            return None
        record, *answers = found
        gather = self._records.open_gather(gather_id, record)
        if gather.reply_to.conversation != conversation:
            raise CodecError(f"a gather record stands in conversation {conversation!r}")
        return Gathering(
            gather.reply_to,
            [
                self._records.open_answer(scope, answer) if answer else None
                for scope, answer in zip(gather.scopes, answers, strict=True)
            ],
        )

    def _beaten(self, backlog: Backlog) -> None:
        """After each beat, on the caretaker's thread."""
        if backlog.publishable:
            self.on_publishable()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard, backlog)

    def _wake_for(self, sent: Sequence[Envelope]) -> None:
        """Some of these may have gone to the workers at once."""
        if any(envelope.to in self.fingerprints for envelope in sent):
            self.on_publishable()

    def _hurry(self) -> None:
        if self._caretaker is not None:
            self._caretaker.hurry()

    def _set_waiting(self, waiting: int) -> None:
        self._waiting = waiting

    def _heard(self, backlog: Backlog) -> None:
        self._waiting = backlog.waiting
        if backlog.lost_news:
            self._news.ask()
        self.on_news(Effects([], [], []))

    def _on_return(self) -> None:
        """Redis is back: what it had to tell us may have gone astray."""
        self.on_publishable()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._inbox.look_again)
            self._loop.call_soon_threadsafe(self._news.ask)

    def _full(self, thread_id: bytes) -> BufferFullError:
        return BufferFullError(
            f"thread {unescape(thread_id)!r} is full: max_slots_per_thread is"
            f" {self._config.max_slots_per_thread}"
        )
