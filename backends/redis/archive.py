"""What Redis keeps about conversations and dead letters, for those who look later.

Synchronous, one connection, bounded answers: nothing here walks the whole database.
"""

import math
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from backends.codec import Codec
from backends.mailbox import Hop, Letter
from backends.protocol import BackendConfig
from backends.redis.connection import connect, describe, disconnect, translated
from backends.redis.keys import escape, unescape
from backends.redis.records import Records
from backends.redis.scripts import script_text

_hops = msgspec.msgpack.Decoder(Hop)


class Conversation(NamedTuple):
    """What is known of one conversation."""

    id: str
    is_open: bool
    #: Seconds since the epoch: when it was opened, or when it ended.
    since: float
    hops: int
    threads: int
    #: Messages from outside that are still being worked on.
    open_requests: int


class Worker(NamedTuple):
    """What a live worker tells of itself."""

    id: str
    node: str
    pid: int
    processes: int


class Archive:
    """Reads, and deals with dead letters.

    Every method may raise `BackendUnavailableError`.

    Args:
        config: of a Redis backend.
        codec: opens what was sealed.
    """

    def __init__(self, config: BackendConfig, codec: Codec) -> None:
        self._prefix = config.redis_prefix
        self._records = Records(codec)
        self._client: Any = connect(config.redis_url)
        self._where = describe(self._client)
        ttl_ms = math.ceil(config.redis_ttl * 1000)
        self._head = (config.redis_prefix, 0, ttl_ms, config.keep_closed)

    def close(self) -> None:
        """Close the connection."""
        disconnect(self._client)

    def conversations(self, limit: int) -> list[Conversation]:
        """The latest *limit*, newest first; open ones before ended ones."""
        with translated(self._where):
            found = [
                (name, score, is_open)
                for key, is_open in (("i:open", True), ("i:closed", False))
                for name, score in self._client.zrange(
                    self._prefix + key, 0, limit - 1, desc=True, withscores=True
                )
            ][:limit]
            pipeline = self._client.pipeline(transaction=False)
            for name, _, _ in found:
                pipeline.hkeys(f"{self._prefix}v:{name.decode()}")
                pipeline.hget(f"{self._prefix}v:{name.decode()}", "o")
            replies = iter(pipeline.execute())
        rows = zip(found, replies, replies, strict=True)
        return [
            Conversation(
                unescape(name),
                is_open,
                score / 1000,
                hops=sum(field[:1] == b"h" for field in fields),
                threads=sum(field[:1] == b"t" for field in fields),
                open_requests=int(opened or 0),
            )
            for (name, score, is_open), fields, opened in rows
        ]

    def hops(self, conversation: str) -> list[Hop]:
        """What every hop of a conversation did, in the order they began."""
        with translated(self._where):
            fields = self._client.hgetall(f"{self._prefix}v:{escape(conversation)}")
        hops = [_hops.decode(value) for name, value in fields.items() if name[:1] == b"h"]
        return sorted(hops, key=lambda hop: hop.started_at)

    def letters(self, limit: int) -> list[tuple[str, Letter]]:
        """The latest dead letters by id, newest first."""
        with translated(self._where):
            names = self._client.zrange(f"{self._prefix}i:letters", 0, limit - 1, desc=True)
            found = self._client.hmget(f"{self._prefix}l:letters", names) if names else []
        return [
            (unescape(name), self._records.open_letter(unescape(name), record))
            for name, record in zip(names, found, strict=True)
            if record
        ]

    def letter(self, letter_id: str) -> Letter | None:
        """One dead letter; None if there is none of this id."""
        with translated(self._where):
            record = self._client.hget(f"{self._prefix}l:letters", escape(letter_id))
        return self._records.open_letter(letter_id, record) if record else None

    def replay(self, letter_id: str) -> bool:
        """Let a dead letter run again in its own conversation; false if it is gone.

        As a first attempt and under a new id: what is left of the old one can't interfere.
        """
        letter = self.letter(letter_id)
        if letter is None:
            return False
        scope = uuid4().hex
        envelope = msgspec.structs.replace(letter.envelope, id=uuid4().hex, scope=scope, attempt=1)
        script = self._client.register_script(script_text("replay"))
        record = self._records.message(envelope)
        arguments = (escape(letter_id), escape(envelope.conversation), scope, record)
        with translated(self._where):
            return bool(script(args=(*self._head, *arguments)))

    def drop(self, letter_id: str) -> bool:
        """Forget a dead letter; false if it is gone."""
        with translated(self._where):
            pipeline = self._client.pipeline()
            pipeline.zrem(f"{self._prefix}i:letters", escape(letter_id))
            pipeline.hdel(f"{self._prefix}l:letters", escape(letter_id))
            _, dropped = pipeline.execute()
        return bool(dropped)

    def workers(self) -> list[Worker]:
        """The workers that are alive."""
        with translated(self._where):
            seconds, micros = self._client.time()
            now_ms = seconds * 1000 + micros // 1000
            alive = self._client.zrangebyscore(f"{self._prefix}i:alive", f"({now_ms}", "+inf")
            names = [name[2:].decode() for name in alive if name[:2] == b"w:"]
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
