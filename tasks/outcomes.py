"""Brings outcomes back to an event loop: one thread and one connection, however many wait."""

import asyncio
import time
from threading import Event, Thread
from uuid import uuid4

from backends.contact import pause_s
from backends.errors import BackendUnavailableError
from backends.mailbox import Returned
from backends.redis.ledger import LedgerClient

#: Longest blocking read; a socket's timeout must be longer.
BLOCK_MS = 1000


class OutcomeReader:
    """Reads a stream of its own; those who wait are on the event loop that made it.

    Args:
        ledger: used by the reader's thread alone, and closed by it.
    """

    def __init__(self, ledger: LedgerClient) -> None:
        self.stream = uuid4().hex
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[Returned]] = {}
        self._is_stopping = Event()
        self._thread = Thread(target=self._run, name="outcomes", daemon=True)

    def start(self) -> None:
        """Make the stream, then read it in a thread. Blocks.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        self._ledger.open_stream(self.stream)
        self._thread.start()

    def expect(self, dispatch_id: str) -> asyncio.Future[Returned]:
        """What will come of a dispatch."""
        future: asyncio.Future[Returned] = self._loop.create_future()
        self._waiting[dispatch_id] = future
        future.add_done_callback(lambda _: self._waiting.pop(dispatch_id, None))
        return future

    def stop(self) -> None:
        """Read no more; whoever still waits is cancelled by its own side. Blocks."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        after, failures = "0", 0
        renewed_at = time.monotonic()
        while not self._is_stopping.is_set():
            started = time.monotonic()
            try:
                if started - renewed_at > self._ledger.terms.lease_s:
                    self._ledger.open_stream(self.stream)
                    renewed_at = started
                after, returned = self._ledger.outcomes(self.stream, after, BLOCK_MS)
                self._ledger.contact.answered()
                failures = 0
            except BackendUnavailableError as exc:
                failures += 1
                self._ledger.contact.lost(exc, since=started)
                self._is_stopping.wait(pause_s(failures))
                continue
            if returned and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._hand_out, returned)
        self._ledger.close_stream(self.stream)
        self._ledger.close()

    def _hand_out(self, returned: list[Returned]) -> None:
        for each in returned:
            future = self._waiting.get(each.dispatch_id)
            if future is not None and not future.done():
                future.set_result(each)
