"""What Redis keeps about conversations and dead letters, for people who ask.

Reads a bounded number of keys, found by our own indexes; never the whole database. What it
shows may be a moment old: nothing here is one step, but for what changes a dead letter.
"""

import math
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid4

import msgspec
from msgspec import structs

from backends import chains
from backends.codec import Codec, decoded
from backends.errors import BackendError, CodecError, LetterNotFoundError
from backends.mailbox import Answer, Hop, Letter
from backends.protocol import BackendConfig
from backends.redis.connection import connect, describe, disconnect, translated
from backends.redis.keys import escape, unescape
from backends.redis.records import Records
from backends.redis.scripts import script_text

#: Fields of one hash asked for at once, so that Redis serves others between.
_SCAN = 1000


class _Scope(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of an open scope, as our scripts keep it."""

    units: int
    parent: str


_scopes = msgspec.msgpack.Decoder(_Scope)


class Worker(NamedTuple):
    """What a live worker tells of itself."""

    id: str
    node: str
    pid: int
    processes: int


@dataclass
class Conversation:
    """One conversation as it stands."""

    id: str
    is_open: bool
    #: Messages that wait or run.
    in_flight: int = 0
    #: Each hop that has ended, in the order of their beginning.
    hops: list[Hop] = field(default_factory=list)
    threads: int = 0
    #: How each message from outside was answered; None where it is open or ended without.
    answers: dict[str, Answer | None] = field(default_factory=dict)
    #: When it was opened, or opened again; where it is closed, its first hop began.
    started_at: float | None = None
    #: When it closed, or its last hop ended.
    last_at: float | None = None


class Archive:
    """Reads what one organism keeps, and sets dead letters going again. Blocking.

    Args:
        config: of a Redis backend.
        codec: opens the records.
    """

    def __init__(self, config: BackendConfig, codec: Codec) -> None:
        self._client: Any = connect(config.redis_url)
        self._where = describe(self._client)
        self._prefix = config.redis_prefix
        self._records = Records(codec)
        ttl_ms = math.ceil(config.redis_ttl * 1000)
        self._head = (config.redis_prefix, 0, ttl_ms, config.keep_closed)
        self._replay = self._client.register_script(script_text("replay"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        disconnect(self._client)

    def pumps(self) -> int:
        """How many pumps hold a lease."""
        return len(self._alive(b"p:"))

    def workers(self) -> list[Worker]:
        """The workers that hold a lease."""
        names = self._alive(b"w:")
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.hmget(f"{self._prefix}w:{name}", "node", "pid", "p")
            rows = pipeline.execute()
        return [
            Worker(name, (node or b"?").decode(), int(pid or 0), int(processes or 0))
            for name, (node, pid, processes) in zip(names, rows, strict=True)
        ]

    def counts(self) -> dict[str, int]:
        """How often what has happened, as the ledger counts it."""
        with translated(self._where):
            found = self._client.hgetall(f"{self._prefix}l:counts")
        return {name.decode(): int(value) for name, value in sorted(found.items())}

    def conversations(self, limit: int) -> list[Conversation]:
        """The *limit* newest conversations, open ones and kept ones, newest last."""
        found = [
            (moment, is_open, name)
            for is_open, index in ((True, "i:open"), (False, "i:closed"))
            for name, moment in self._newest(index, limit)
        ]
        newest = sorted(found)[-limit:]
        return [self._conversation(name, moment, is_open) for moment, is_open, name in newest]

    def conversation(self, conversation_id: str) -> Conversation | None:
        """One conversation with all its hops; None where nothing of it is kept."""
        name = escape(conversation_id)
        with translated(self._where):
            opened = self._client.zscore(f"{self._prefix}i:open", name)
            closed = self._client.zscore(f"{self._prefix}i:closed", name)
        if opened is None and closed is None:
            return None
        moment = opened if closed is None else closed
        return self._conversation(name.encode(), moment, closed is None)

    def conversation_of(self, thread_id: str) -> str | None:
        """The conversation that a thread belongs to; None where it is not kept."""
        with translated(self._where):
            link = self._client.lindex(f"{self._prefix}t:{escape(thread_id)}", 0)
            if link is None and self._client.zscore(f"{self._prefix}i:open", escape(thread_id)):
                # Nothing yet but its first message.
                return thread_id
        return chains.conversation_of(unescape(link[1:])) if link else None

    def letters(self, limit: int) -> list[tuple[str, Letter | None]]:
        """The *limit* newest dead letters by id, newest last; None for one that can't be read."""
        names = [name for name, _ in reversed(self._newest("i:letters", limit))]
        if not names:
            return []
        with translated(self._where):
            records = self._client.hmget(f"{self._prefix}l:letters", names)
        return [
            (unescape(name), self._opened(unescape(name), record))
            for name, record in zip(names, records, strict=True)
            if record is not None
        ]

    def letter(self, letter_id: str) -> Letter:
        """One dead letter.

        Raises:
            LetterNotFoundError: there is none with this id.
            CodecError: it is forged, or damaged.
        """
        with translated(self._where):
            record = self._client.hget(f"{self._prefix}l:letters", escape(letter_id))
        if record is None:
            raise LetterNotFoundError(f"no dead letter {letter_id!r}; `dead-letters list` has them")
        return self._records.open_letter(letter_id, record)

    def replay(self, letter_id: str) -> str:
        """Let a dead letter run again; the id of its conversation.

        It enters as a new message: its first attempt, in a scope of its own, under an id that
        no earlier dispatch has had. Whom it answers is what it was.

        Raises:
            LetterNotFoundError: there is none with this id.
            CodecError: it is forged, or damaged.
        """
        envelope = self.letter(letter_id).envelope
        if not envelope.payload:
            raise BackendError(f"dead letter {letter_id!r} has kept no payload; drop it")
        again = structs.replace(
            envelope,
            id=uuid4().hex,
            scope=chains.new_thread_id(),
            attempt=1,
            sent_at=time.time(),
        )
        arguments = (
            escape(letter_id),
            escape(again.conversation),
            escape(again.scope),
            self._records.message(again),
        )
        with translated(self._where):
            if not self._replay(args=(*self._head, *arguments)):
                raise LetterNotFoundError(f"dead letter {letter_id!r} is gone")
        return envelope.conversation

    def drop(self, letter_id: str) -> None:
        """Delete a dead letter.

        Raises:
            LetterNotFoundError: there is none with this id.
        """
        name = escape(letter_id)
        with translated(self._where):
            # In a transaction a full Redis refuses even this; no letter without a record is listed.
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hdel(f"{self._prefix}l:letters", name)
            pipeline.zrem(f"{self._prefix}i:letters", name)
            deleted, _ = pipeline.execute()
        if not deleted:
            raise LetterNotFoundError(f"no dead letter {letter_id!r}; `dead-letters list` has them")

    def _opened(self, letter_id: str, record: bytes) -> Letter | None:
        try:
            return self._records.open_letter(letter_id, record)
        except CodecError:
            return None

    def _alive(self, kind: bytes) -> list[str]:
        with translated(self._where):
            seconds, micros = self._client.time()
            now_ms = seconds * 1000 + micros // 1000
            members = self._client.zrangebyscore(f"{self._prefix}i:alive", f"({now_ms}", "+inf")
        return [member[2:].decode() for member in members if member.startswith(kind)]

    def _newest(self, index: str, limit: int) -> list[tuple[bytes, float]]:
        with translated(self._where):
            found = self._client.zrevrange(f"{self._prefix}{index}", 0, limit - 1, withscores=True)
        return list(found)

    def _conversation(self, name: bytes, moment: float, is_open: bool) -> Conversation:  # noqa: FBT001 - private, and read from an index
        fields = self._fields(name)
        is_folded = is_open and not fields
        return self._told(name, moment, is_open, fields.items(), is_folded=is_folded)

    def _told(
        self,
        name: bytes,
        moment: float,
        is_open: bool,  # noqa: FBT001 - as above
        fields: Iterable[tuple[bytes, bytes]],
        *,
        is_folded: bool,
    ) -> Conversation:
        """What the fields of a conversation tell; one that is folded has none."""
        found = Conversation(unescape(name), is_open)
        if is_folded:
            # Nothing yet but its first message, which waits or runs.
            found.in_flight = found.threads = 1
        for key, value in fields:
            # What is not ours is left out; the rest is shown all the same.
            with suppress(CodecError, UnicodeDecodeError):
                self._add(found, key[:1], unescape(key[1:]), value)
        found.hops.sort(key=lambda hop: hop.started_at)
        began = found.hops[0].started_at if found.hops else None
        ended = max((hop.started_at + hop.duration_s for hop in found.hops), default=None)
        found.started_at = moment / 1000 if is_open else began
        found.last_at = ended if is_open else moment / 1000
        return found

    def _add(self, found: Conversation, kind: bytes, rest: str, value: bytes) -> None:
        if kind == b"h":
            # Empty where no handler ran.
            if value:
                found.hops.append(self._records.open_hop(rest, value))
        elif kind == b"t":
            found.threads += 1
        elif kind == b"s":
            scope = decoded(_scopes, value, "a scope")
            # An open scope below another is one unit of it, and no message.
            found.in_flight += scope.units - (1 if scope.parent else 0)
        elif kind == b"r":
            found.answers[rest] = self._answer(rest, value)

    def _answer(self, scope: str, record: bytes) -> Answer | None:
        """None where there is none, or one that is not ours: others are shown all the same."""
        try:
            return self._records.open_answer(scope, record) if record else None
        except CodecError:
            return None

    def _fields(self, name: bytes) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with translated(self._where):
            for kind in ("v", "e"):
                key = f"{self._prefix}{kind}:".encode() + name
                # A scan may tell a field twice while the hash changes, or after it has moved.
                found.update(self._client.hscan_iter(key, count=_SCAN))
        return found
