"""What stands in Redis at one moment, for a page that many look at again and again.

Every call reads a bounded number of keys and fields. Conversations are read page by page, found
by their indexes: open ones first, then ended ones, each the newest first.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from backends.chains import first_hops
from backends.codec import Codec, decoded
from backends.errors import CodecError
from backends.mailbox import Envelope
from backends.protocol import BackendConfig
from backends.redis.archive import Archive, Conversation
from backends.redis.connection import translated
from backends.redis.keys import escape, unescape
from backends.slots import SlotMetadata

#: Fields beyond which a conversation is not read for a list.
MOST_FIELDS = 500
#: Dispatches at work that one call looks at.
MOST_DISPATCHES = 200
#: Records asked for at once, and bytes after which no more are: payloads may be large.
_CHUNK, _MOST_BYTES = 20, 16 * 1024**2
#: As in `folded.lua`: what a place in the index of open ones is a fraction of.
_NUMBERS = 4096
_OPEN, _CLOSED, _LETTERS = "i:open", "i:closed", "i:letters"

_histories = msgspec.msgpack.Decoder(list[object])


class Indexed(NamedTuple):
    """A conversation where the indexes have it."""

    #: As its keys have it.
    name: bytes
    is_open: bool
    #: When it opened or closed, in milliseconds since the epoch.
    moment_ms: float


@dataclass(frozen=True)
class Brief:
    """A conversation in a list."""

    conversation: Conversation
    #: True where it is too large for a list: its hops, answers and messages are not told.
    is_large: bool
    #: What is known of it, in fields: messages, hops, threads and answers together.
    fields: int


@dataclass(frozen=True)
class Lease:
    """A pump, and what it holds."""

    id: str
    #: Milliseconds until the lease ends; below zero it has lapsed.
    left_ms: int
    #: Messages taken and not yet settled.
    held: int = 0


@dataclass(frozen=True)
class WorkerLease:
    """A worker, and what it told of itself."""

    id: str
    left_ms: int
    node: str
    pid: int
    processes: int
    #: Dispatches claimed by its processes.
    busy: int
    #: Fingerprints of the listeners it runs.
    fingerprints: frozenset[str]


@dataclass(frozen=True)
class AtWork:
    """A dispatch that has not ended."""

    id: str
    envelope: Envelope
    #: The worker and the process that has claimed it; empty before.
    owner: str
    #: Processes that have died of it.
    deaths: int


@dataclass(frozen=True)
class Standing:
    """How much there is of everything."""

    open: int
    closed: int
    letters: int
    #: When the newest of each opened, closed or died; in milliseconds since the epoch.
    newest: tuple[float, float, float]
    #: Messages that no pump has taken, and those that pumps hold.
    waiting: int
    held: int
    #: To be tried again later.
    delayed: int
    #: Dispatches: not yet published, published and unclaimed, claimed, without a worker that fits.
    ready: int
    published: int
    claimed: int
    parked: int
    #: How often what has happened, as the ledger counts it.
    counts: dict[str, int]


class Survey(Archive):
    """Reads what a console shows. Blocking; may be called from several threads.

    Args:
        config: of a Redis backend.
        codec: opens the records.
    """

    def __init__(self, config: BackendConfig, codec: Codec) -> None:
        super().__init__(config, codec)
        self._codec = codec

    def standing(self) -> Standing:
        """How much there is of everything, in one round trip and a second one for the inbox."""
        prefix = self._prefix
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            for index in (_OPEN, _CLOSED, _LETTERS):
                pipeline.zcard(prefix + index)
                pipeline.zrevrange(prefix + index, 0, 0, withscores=True)
            pipeline.exists(f"{prefix}s:inbox")
            pipeline.xlen(f"{prefix}s:inbox")
            pipeline.llen(f"{prefix}l:ready")
            for index in ("i:delayed", "l:published"):
                pipeline.zcard(prefix + index)
            for record in ("l:claims", "l:parked"):
                pipeline.hlen(prefix + record)
            pipeline.hgetall(f"{prefix}l:counts")
            rows = pipeline.execute()
        has_inbox, length, ready, delayed, published, claimed, parked, counts = rows[6:]
        held = sum(self._held().values()) if has_inbox else 0
        return Standing(
            open=rows[0],
            closed=rows[2],
            letters=rows[4],
            newest=(_score(rows[1]), _score(rows[3]), _score(rows[5])),
            waiting=max(0, length - held),
            held=held,
            delayed=delayed,
            ready=ready,
            published=published,
            claimed=claimed,
            parked=parked,
            counts={name.decode(): int(value) for name, value in sorted(counts.items())},
        )

    def indexed(self, *, are_open: bool | None, offset: int, limit: int) -> list[Indexed]:
        """Conversations from *offset* on.

        Args:
            are_open: open ones only, ended ones only, or both.
        """
        found: list[Indexed] = []
        for is_open, index in ((True, _OPEN), (False, _CLOSED)):
            if are_open is (not is_open) or len(found) >= limit:
                continue
            key = self._prefix + index
            with translated(self._where):
                last = offset + limit - len(found) - 1
                rows = self._client.zrevrange(key, offset, last, withscores=True)
                found += [Indexed(name, is_open, moment) for name, moment in rows]
                offset = 0 if rows else max(0, offset - self._client.zcard(key))
        return found

    def where_is(self, conversation_id: str) -> Indexed | None:
        """Where the indexes have a conversation."""
        name = escape(conversation_id)
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zscore(self._prefix + _OPEN, name)
            pipeline.zscore(self._prefix + _CLOSED, name)
            opened, closed = pipeline.execute()
        if opened is None and closed is None:
            return None
        return Indexed(name.encode(), opened is not None, opened if opened is not None else closed)

    def briefs(self, entries: Sequence[Indexed]) -> list[Brief]:
        """What a list tells of conversations, in the same order; two round trips."""
        keys = [
            (f"{self._prefix}v:".encode() + each.name, f"{self._prefix}e:".encode() + each.name)
            for each in entries
        ]
        sizes = self._numbers([key for pair in keys for key in pair])
        totals = [sizes[2 * i] + sizes[2 * i + 1] for i in range(len(entries))]
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            for pair, total in zip(keys, totals, strict=True):
                for key in pair if total <= MOST_FIELDS else ():
                    pipeline.hgetall(key)
            replies = iter(pipeline.execute())
        found = []
        for entry, total in zip(entries, totals, strict=True):
            is_large = total > MOST_FIELDS
            fields = {} if is_large else {**next(replies), **next(replies)}
            told = self._told(
                entry.name,
                entry.moment_ms,
                entry.is_open,
                fields.items(),
                is_folded=entry.is_open and not total,
            )
            found.append(Brief(told, is_large, total))
        return found

    def pumps_and_workers(self) -> tuple[list[Lease], list[WorkerLease]]:
        """Everybody with a lease, or with one that has lapsed and was not yet taken over."""
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.time()
            pipeline.zrange(f"{self._prefix}i:alive", 0, -1, withscores=True)
            pipeline.hvals(f"{self._prefix}l:claims")
            (seconds, micros), members, owners = pipeline.execute()
        now_ms = seconds * 1000 + micros // 1000
        left = {
            (member[:1], member[2:].decode(errors="replace")): int(ends - now_ms)
            for member, ends in members
        }
        held = self._held() if any(kind == b"p" for kind, _ in left) else {}
        pumps = [
            Lease(name, left_ms, held.get(name, 0))
            for (kind, name), left_ms in left.items()
            if kind == b"p"
        ]
        names = {name: left_ms for (kind, name), left_ms in left.items() if kind == b"w"}
        return pumps, list(self._workers(names, [owner.partition(b"/")[0] for owner in owners]))

    def at_work(self, limit: int = MOST_DISPATCHES) -> list[AtWork]:
        """Dispatches that have not ended: claimed ones first, then those nobody has claimed."""
        key = self._prefix
        with translated(self._where):
            _, claims = self._client.hscan(f"{key}l:claims", count=limit)
            owners = dict(list(claims.items())[:limit])
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zrange(f"{key}l:published", 0, limit - 1)
            pipeline.lrange(f"{key}l:ready", 0, limit - 1)
            published, ready = pipeline.execute()
            waiting = [name for joined in published for name in joined.split(b" ")] + ready
            names = list(dict.fromkeys([*owners, *waiting]))[:limit]
            died = self._client.hmget(f"{key}l:deaths", names) if names else []
        deaths = {name: len(_deaths(raw)) for name, raw in zip(names, died, strict=True) if raw}
        found = []
        for name, kept in self._dispatches(names):
            with suppress(CodecError, UnicodeDecodeError):
                dispatch_id = unescape(name)
                envelope = self._records.open_dispatch(dispatch_id, kept).envelope
                owner = owners.get(name, b"").decode()
                found.append(AtWork(dispatch_id, envelope, owner, deaths.get(name, 0)))
        return found

    def messages(self, thread_id: str, limit: int) -> list[tuple[SlotMetadata, bytes] | None]:
        """The *limit* newest messages of a thread, each with its typed payload; oldest first.

        None stands for one that can't be read.
        """
        key = f"{self._prefix}t:{escape(thread_id)}"
        records: list[bytes] = []
        with translated(self._where):
            last = self._client.llen(key) - 1
            # The first item is the thread's link.
            while last > 0 and len(records) < limit and sum(map(len, records)) < _MOST_BYTES:
                first = max(1, last - min(_CHUNK, limit - len(records)) + 1)
                records = self._client.lrange(key, first, last) + records
                last = first - 1
            if last < 0:
                records = self._first_slot(thread_id)
        return [self._message(record, thread_id) for record in records]

    def _first_slot(self, thread_id: str) -> list[bytes]:
        """Of a conversation that is nothing yet but its first message; see `folded.lua`."""
        place = self._client.zscore(f"{self._prefix}{_OPEN}", escape(thread_id))
        if place is None:
            return []
        entry = f"{int(place)}-{int(place % 1 * _NUMBERS)}"
        for _, fields in self._client.xrange(f"{self._prefix}s:inbox", entry, entry):
            with suppress(ValueError):
                if first_hops(unescape(fields.get(b"l", b"")))[0] == thread_id:
                    return [fields.get(b"d", b"")]
        return []

    def letter_ids(self, offset: int, limit: int) -> list[str]:
        """Dead letters, the newest first."""
        with translated(self._where):
            key = f"{self._prefix}{_LETTERS}"
            return list(map(unescape, self._client.zrevrange(key, offset, offset + limit - 1)))

    def _message(self, record: bytes, thread_id: str) -> tuple[SlotMetadata, bytes] | None:
        try:
            metadata, typed = self._codec.open_slot(record, thread_id)
        except CodecError:
            return None
        return metadata, bytes(typed)

    def _dispatches(self, names: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The record of each dispatch that has one, until they are too many bytes."""
        read = 0
        for first in range(0, len(names), _CHUNK):
            chunk = names[first : first + _CHUNK]
            with translated(self._where):
                kept = self._client.hmget(f"{self._prefix}l:dispatches", chunk)
            for name, record in zip(chunk, kept, strict=True):
                if record:
                    read += len(record)
                    yield name, record.partition(b"\n")[2]
            if read > _MOST_BYTES:
                return

    def _numbers(self, keys: Iterable[bytes]) -> list[int]:
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hlen(key)
            return [int(each) for each in pipeline.execute()]

    def _held(self) -> dict[str, int]:
        """How many messages each pump has taken and not settled."""
        with translated(self._where):
            if not self._client.exists(f"{self._prefix}s:inbox"):
                return {}
            consumers = self._client.xpending(f"{self._prefix}s:inbox", "pump")["consumers"]
        return {each["name"].decode(errors="replace"): int(each["pending"]) for each in consumers}

    def _workers(self, left: dict[str, int], claimed_by: list[bytes]) -> Iterator[WorkerLease]:
        with translated(self._where):
            pipeline = self._client.pipeline(transaction=False)
            for name in left:
                pipeline.hgetall(f"{self._prefix}w:{name}")
            rows = pipeline.execute()
        for (name, left_ms), told in zip(left.items(), rows, strict=True):
            yield WorkerLease(
                id=name,
                left_ms=left_ms,
                node=told.get(b"node", b"?").decode(errors="replace"),
                pid=int(told.get(b"pid", 0)),
                processes=int(told.get(b"p", 0)),
                busy=claimed_by.count(name.encode()),
                fingerprints=frozenset(
                    field[1:].decode(errors="replace") for field in told if field.startswith(b"f")
                ),
            )


def _deaths(raw: bytes) -> list[object]:
    """What our scripts keep of a dispatch's deaths; nothing where it is not ours."""
    with suppress(CodecError):
        return decoded(_histories, raw, "a history")
    return []


def _score(rows: list[tuple[bytes, float]]) -> float:
    return rows[0][1] if rows else 0.0
