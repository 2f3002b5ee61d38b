"""The ledger of dispatches, for those who publish and run them: workers, and pumps' publishers.

Synchronous, one connection, used from one thread.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any, NamedTuple

import msgspec

from backends.codec import Codec
from backends.contact import contact_with, pause_s
from backends.errors import BackendError, BackendRefusingError, BackendUnavailableError, CodecError
from backends.mailbox import Envelope, Returned
from backends.protocol import BackendConfig
from backends.redis.agreement import word_of
from backends.redis.caller import Caller
from backends.redis.caretaker import Backlog, Caretaker
from backends.redis.connection import connect, describe, disconnect, hear, translated
from backends.redis.keys import escape, unescape
from backends.redis.records import Dispatch, Outcome, Records
from backends.redis.scripts import OF_LEDGER
from backends.redis.streams import (
    MAX_QUARANTINED,
    MAX_QUARANTINED_BYTES,
    Fields,
    entries_of,
    message_of,
)
from backends.terms import Terms

log = logging.getLogger(__name__)

#: In place of a dispatch's id: a process had begun none of those it held. No id has a space.
NONE_BEGUN = " "
_PROCESS = re.compile(rb"[0-9]{1,10}")


class Batch(NamedTuple):
    """Dispatches of one listener that travel in one message."""

    listener: str
    #: Joined by spaces.
    ids: str


def ids_in(batch_ids: str) -> list[str]:
    """The dispatches of a batch, taken apart as our scripts do it: at spaces and nothing else."""
    return [each for each in batch_ids.split(" ") if each]


class LedgerClient:
    """What can be done with dispatches.

    Every call waits while Redis is away, or takes no writes, unless *is_stopping* is set: then
    `BackendUnavailableError` is raised.

    Args:
        config: of a Redis backend.
        codec: seals and opens records.
    """

    def __init__(
        self, config: BackendConfig, codec: Codec, terms: Terms, *, is_stopping: Event | None = None
    ) -> None:
        self.terms = terms
        self._config, self._codec, self._records = config, codec, Records(codec)
        self._client: Any = connect(config.redis_url)
        #: Whether Redis is there.
        self.contact = contact_with(describe(self._client))
        self._is_stopping = is_stopping or Event()
        #: Whether `publishable` may have left some that could be published at once.
        self.may_have_more = False
        #: How many waited to be published when `claim` was last called.
        self.backlog = 0
        #: Entries of outcomes that are no longer needed.
        self._handed_over: list[bytes] = []
        self._prefix = config.redis_prefix
        ttl_ms = math.ceil(config.redis_ttl * 1000)
        self._head = (config.redis_prefix, 0, ttl_ms, config.keep_closed)
        self._caller = Caller(self._client, head=self._head, scripts=OF_LEDGER)

    def twin(self) -> "LedgerClient":
        """The same on a connection of its own, for another thread."""
        return LedgerClient(self._config, self._codec, self.terms, is_stopping=self._is_stopping)

    def record(self, dispatch_id: str, listener: str, dispatch: Dispatch, stream: str) -> None:
        """Record a dispatch whose outcome this stream awaits."""
        self.keep(dispatch_id, self.sealed(dispatch_id, listener, dispatch), stream)

    def sealed(self, dispatch_id: str, listener: str, dispatch: Dispatch) -> bytes:
        """A dispatch as `keep` takes it; `ValueError` where it can't be encoded. For any thread."""
        return f"{listener}\n".encode() + self._records.dispatch(dispatch_id, dispatch)

    def keep(self, dispatch_id: str, kept: bytes, stream: str) -> None:
        """Record what was sealed; `BackendRefusingError` where Redis has no room for it now."""
        self._run("record", escape(dispatch_id), kept, stream)

    def publishable(
        self,
        window: int,
        most: int,
        sizes: Mapping[str, int],
        enough: Mapping[str, int] | None = None,
    ) -> list[Batch]:
        """Take what may be published now, oldest first; to be published, or put back.

        Args:
            window: most unclaimed batches for each live pool process.
            most: dispatches of this call.
            sizes: of listeners that may have more than one in a batch, how many.
            enough: of listeners that need less than the *window*, how many batches for each
                process; one more is published.
        """
        enough = enough or {}
        told = [
            part
            for listener in {**sizes, **enough}
            for part in (listener, sizes.get(listener, 1), enough.get(listener, window))
        ]
        self.may_have_more, *rows = self._run("publish", window, most, *told)
        found = iter(rows)
        batches = []
        for listener, ids in zip(found, found, strict=True):
            try:
                batches.append(Batch(listener.decode(), unescape(ids)))
            except UnicodeDecodeError as exc:
                _say_refused(exc)
                self._sort_out(listener, ids)
        return batches

    def put_back(self, batches: Iterable[Batch]) -> None:
        """The broker did not take these."""
        self._run("unpublish", *(escape(batch.ids) for batch in batches))

    def publish_again(self) -> int:
        """Have all that nobody has claimed published again; how much that is."""
        return int(self._run("again"))

    def claim(self, owner: str, batch_ids: str) -> list[tuple[str, Dispatch]]:
        """Take a batch for *owner* (`worker/process`), but what is done or another's."""
        if not ids_in(batch_ids):
            return []
        told = self._run("claim", owner, self.terms.lease_ms, escape(batch_ids))
        *records, self.backlog = told
        return self._all_opened(zip(ids_in(batch_ids), records, strict=True))

    def complete(self, owner: str, outcomes: Mapping[str, Outcome]) -> list[bool]:
        """Hand in what came of claimed dispatches, by id; false for each that came too late."""
        accepted, _ = self.go_on(owner, outcomes, "", 0)
        return accepted

    def go_on(
        self, owner: str, outcomes: Mapping[str, Outcome], listener: str, wanted: int
    ) -> tuple[list[bool], list[tuple[str, Dispatch]]]:
        """`complete`, and take what waits to be published; for a process that then holds nothing.

        Args:
            listener: of what it takes.
            wanted: how many at most; it may get fewer, or none.
        """
        records = [
            part
            for dispatch_id, outcome in outcomes.items()
            for part in (escape(dispatch_id), self._records.outcome(dispatch_id, outcome))
        ]
        first = (owner, listener, wanted, 0, *records)
        # What it took without hearing of it must not stay with it.
        again = (owner, listener, wanted, int(wanted > 0), *records)
        reply = self._run("complete", *first, again=again)
        accepted, taken = reply[: len(outcomes)], iter(reply[len(outcomes) :])
        pairs = ((unescape(raw), record) for raw, record in zip(taken, taken, strict=True))
        return [bool(each) for each in accepted], self._all_opened(pairs)

    def release(self, owner: str, dispatch_ids: Iterable[str], fingerprint: str = "") -> int:
        """Give claimed dispatches back; how many were still held.

        Args:
            fingerprint: what this worker lacks; empty where any may do what this one could not.
        """
        return int(self._run("release", owner, fingerprint, *map(escape, dispatch_ids)))

    def deaths(self, dispatch_id: str) -> int:
        """How many processes have died of a dispatch; 0 while Redis is away."""
        try:
            with translated(self.contact.where):
                kept = self._client.hget(f"{self._prefix}l:deaths", escape(dispatch_id))
            return len(msgspec.msgpack.decode(kept, type=list)) if kept else 0
        except (BackendUnavailableError, msgspec.MsgspecError):
            return 0

    def beat(self, worker: str, advert: Mapping[str, str | int | bytes]) -> None:
        """Renew a worker's lease; *advert* is what it tells of itself.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        told = [part for pair in advert.items() for part in pair]
        started = time.monotonic()
        _, refused = self._caller.run("beat", "w", worker, self.terms.lease_ms, *told)
        hear(self.contact, refused, since=started)

    def claims_of(self, worker: str) -> dict[int, list[bytes]]:
        """What each process of *worker* holds, as Redis has the ids.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        with self._asking():
            claims = self._client.hgetall(f"{self._prefix}l:claims")
        mine = f"{worker}/".encode()
        found: dict[int, list[bytes]] = {}
        for dispatch_id, owner in claims.items():
            process = owner.removeprefix(mine)
            # What is none of ours must not keep us from looking after our own.
            if owner.startswith(mine) and _PROCESS.fullmatch(process):
                found.setdefault(int(process), []).append(dispatch_id)
        return found

    def disclaim(self, worker: str, process: int, claims: Iterable[bytes]) -> int:
        """Give back what a live process does not hold, whatever Redis says; how much that was.

        Args:
            claims: as `claims_of` has them.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        return int(self._caller.run("release", f"{worker}/{process}", "", *claims))

    def bury(
        self,
        worker: str,
        dead: Mapping[int, str],
        places: Mapping[int, str] | None = None,
        *,
        is_counted: bool = True,
    ) -> int:
        """Put back what *dead* processes of a live worker had claimed; how much that was.

        Args:
            dead: each process, and what it was running: an id, `NONE_BEGUN`, or empty for unknown.
            places: where each ran and how it ended, as the history of a death tells it.
            is_counted: their deaths are attempts at what they ran.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        told = [
            part
            for pid, running in dead.items()
            for part in (pid, escape(running), (places or {}).get(pid, ""))
        ]
        most = self.terms.max_attempts
        return int(self._caller.run("bury", worker, most, int(is_counted), *told))

    def leave(self, worker: str) -> int:
        """A worker ends: put back all it held, uncounted; how much that was.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        return int(self._caller.run("leave", "w", worker))

    def caretaker(self, name: str, on_beat: Callable[[Backlog], None]) -> Caretaker:
        """Who keeps a stream that outcomes can be awaited on, and takes over from the dead."""
        where = self._config.redis_url, self._head, name
        return Caretaker(
            *where,
            terms=self.terms,
            contact=self.contact,
            on_beat=on_beat,
            word=word_of(self._codec),
        )

    def outcomes(self, name: str, block_ms: int) -> list[Returned]:
        """Wait for outcomes on a stream; the next call takes them out of it.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        key = f"{self._prefix}s:{name}"
        with self._asking():
            # Not before they are handed over: a reply that is lost must not take them with it.
            if self._handed_over:
                self._client.xdel(key, *self._handed_over)
                self._handed_over = []
            entries = entries_of(self._client.xread({key: "0"}, block=block_ms))
        self._handed_over = [entry for entry, _ in entries]
        works = (self._outcome(fields) for _, fields in entries if b"i" in fields)
        return [work for work in works if isinstance(work, Returned)]

    def missing(self, dispatch_ids: Sequence[str]) -> list[str]:
        """Those of which nothing can come any more: neither recorded nor claimed.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        if not dispatch_ids:
            return []
        with self._asking():
            questions = self._client.pipeline(transaction=False)
            for each in dispatch_ids:
                for place in ("dispatches", "claims"):
                    questions.hexists(f"{self._prefix}l:{place}", escape(each))
            found = iter(questions.execute())
        return [
            each
            for each, *places in zip(dispatch_ids, found, found, strict=True)
            if not any(places)
        ]

    def interrupt(self, name: str) -> None:
        """Let whoever waits for outcomes on a stream go on at once."""
        with suppress(BackendError), self._asking():
            self._client.xadd(f"{self._prefix}s:{name}", {"n": ""}, nomkstream=True)

    def close(self) -> None:
        """Close the connection."""
        self._caller.close()
        disconnect(self._client)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Around what is asked past the caller."""
        try:
            with translated(self.contact.where):
                yield
        except BackendUnavailableError:
            # By now another server may be the primary.
            self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    def _sort_out(self, listener: bytes, joined: bytes) -> None:
        """End what none of ours could be called; its neighbours wait to be published again."""
        for raw in joined.split(b" "):
            try:
                listener.decode(), raw.decode()
            except UnicodeDecodeError:
                self._run("refuse", raw, raw[:MAX_QUARANTINED_BYTES], MAX_QUARANTINED)
        self._run("unpublish", joined)

    def _outcome(self, fields: Fields) -> Envelope | Returned | None:
        """What an entry tells; None where it is not ours."""
        try:
            return message_of(self._records, fields)
        except (CodecError, ValueError) as exc:
            _say_refused(exc)
            return None

    def _all_opened(self, pairs: Iterable[tuple[str, bytes]]) -> list[tuple[str, Dispatch]]:
        """What was claimed; what there is no record of is left out."""
        opened = ((id_, self._opened(id_, record) if record else None) for id_, record in pairs)
        return [(id_, dispatch) for id_, dispatch in opened if dispatch]

    def _opened(self, dispatch_id: str, record: bytes) -> Dispatch | None:
        """A dispatch; None where the record is not ours, which ends it."""
        try:
            return self._records.open_dispatch(dispatch_id, record)
        except CodecError as exc:
            _say_refused(exc)
            raw = record[:MAX_QUARANTINED_BYTES]
            self._run("refuse", escape(dispatch_id), raw, MAX_QUARANTINED)
            return None

    def _run(self, name: str, *arguments: Any, again: Sequence[Any] | None = None) -> Any:
        """Run a script; with *again* for its arguments where a reply may have been lost."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                reply = self._caller.run(name, *arguments)
            except BackendUnavailableError as exc:
                failures += 1
                self.contact.lost(exc, since=started)
                has_no_room = name == "record" and isinstance(exc, BackendRefusingError)
                if has_no_room or self._is_stopping.wait(pause_s(failures)):
                    raise
                arguments = arguments if again is None else tuple(again)
            else:
                self.contact.answered(since=started)
                return reply


def _say_refused(reason: Exception) -> None:
    log.error("record refused", extra={"action": "quarantine", "reason": str(reason)})
