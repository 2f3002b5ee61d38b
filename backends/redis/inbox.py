"""Reads the stream of messages, as one consumer of its group."""

import asyncio
import time
from collections.abc import Callable

import hiredis
import redis

from backends.cancelling import raise_if_cancelled
from backends.contact import Contact, pause_s
from backends.errors import BackendError
from backends.redis.connection import translated
from backends.redis.holding import Holding
from backends.redis.line import Line
from backends.redis.streams import unparsed_entries_of

GROUP = "pump"
#: Longest blocking read; the socket's timeout must be longer.
BLOCK_MS = 2000
#: Bytes that one reply should have at most. One that does not arrive in the time it may take would
#: be asked for again and again.
MOST_BYTES = 16 * 1024**2
#: Entries asked for at first, as long as nobody knows how large they are.
FIRST = 64

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class Inbox:
    """What one pump is handed. Used from its event loop.

    Args:
        client: not closed here.
        stream: its key.
        pump: the consumer.
        held: what this pump has been handed and has not ended.
        on_missing: called when the stream is not there; whoever beats makes it anew.
    """

    def __init__(  # noqa: PLR0913 - what it reads, for whom
        self,
        client: redis.asyncio.Redis,
        contact: Contact,
        *,
        stream: str,
        pump: str,
        held: Holding,
        on_missing: Callable[[], None],
    ) -> None:
        self._line = Line(client)
        self._contact = contact
        self._stream, self._pump = stream, pump
        self._held = held
        self._on_missing = on_missing
        #: Where to go on looking for entries that were lost on their way to us; None: nowhere.
        self._unseen_after: str | None = None
        #: Entries asked for at once, for all that is known of their size.
        self._most = FIRST

    @property
    def block_ms(self) -> int:
        """Milliseconds that a read may block: less than the socket's timeout."""
        timeout_s = self._line.timeout_s
        return BLOCK_MS if timeout_s is None else min(BLOCK_MS, int(timeout_s * 500))

    async def read(self, limit: int) -> Entries:
        """Wait for entries, and while Redis is away; now and then there are none."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                with translated(self._contact.where):
                    entries = await self._read(min(limit, self._most))
            except BackendError as exc:
                # Whatever it is, a pump that stopped reading would be worse.
                failures += 1
                # What was handed to us then is ours, though we never saw it.
                self._unseen_after = "0"
                self._most = 1
                self._contact.lost(exc, since=started)
                # By now another server may be the primary.
                await self._line.drop()
                await asyncio.sleep(pause_s(failures))
                continue
            self._contact.answered(since=started)
            if not entries:
                raise_if_cancelled()
            else:
                self._most = _most_like(entries, self._most)
            return entries

    def look_again(self) -> None:
        """An answer of Redis went astray: what this pump has settled may be unsettled again.

        So it is after a failover, and then nothing but the pump's own list there tells of it.
        """
        self._unseen_after = "0"

    async def close(self) -> None:
        """Let go of the connection."""
        await self._line.drop()

    async def _read(self, limit: int) -> Entries:
        if self._unseen_after is None:
            return await self._read_group(">", limit)
        # What is settled while the question is on its way must not count as unseen.
        held = self._held.snapshot()
        after, self._unseen_after = self._unseen_after, None
        rows = await self._read_group(after, limit)
        if self._unseen_after is None and rows:
            self._unseen_after = rows[-1][0].decode()
        return [(entry, fields) for entry, fields in rows if entry not in held]

    async def _read_group(self, after: str, limit: int) -> Entries:
        block = ("BLOCK", self.block_ms) if after == ">" else ()
        words = ("GROUP", GROUP, self._pump, "COUNT", limit, *block, "STREAMS", self._stream, after)
        (found,) = await self._line.exchange(hiredis.pack_command(("XREADGROUP", *words)), 1)
        if isinstance(found, redis.ResponseError):
            if "NOGROUP" not in str(found) and "UNBLOCKED" not in str(found):
                raise found
            # The stream had expired, or was deleted.
            self._on_missing()
            await asyncio.sleep(pause_s(1))
            return []
        return unparsed_entries_of(found)


def _most_like(entries: Entries, most: int) -> int:
    """How many to ask for next, where at most *most* were asked for and these came."""
    size = sum([len(value) for _, fields in entries for value in fields.values()])
    return max(1, min(2 * most, MOST_BYTES * len(entries) // max(1, size)))
