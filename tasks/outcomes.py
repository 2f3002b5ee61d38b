"""Brings outcomes back to an event loop: two threads and connections, however many wait."""

import asyncio
import time
from collections.abc import Callable
from threading import Event, Thread
from uuid import uuid4

from backends.contact import pause_s
from backends.errors import BackendUnavailableError
from backends.mailbox import Returned
from backends.redis.caretaker import Backlog
from backends.redis.ledger import LedgerClient

#: Longest blocking read; a socket's timeout must be longer.
BLOCK_MS = 2000


class OutcomeReader:
    """Reads a stream of its own; those who wait are on the event loop that made it.

    Args:
        ledger: used by the reader's thread alone, and closed by it.
        on_room: called, from any thread, when there may be more to publish.
    """

    def __init__(self, ledger: LedgerClient, on_room: Callable[[], None]) -> None:
        self.stream = uuid4().hex
        self._ledger = ledger
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[Returned]] = {}
        self._is_stopping = Event()
        self._caretaker = ledger.caretaker(self.stream, self._beaten)
        self._thread = Thread(target=self._run, name="outcomes", daemon=True)

    def start(self) -> None:
        """Make the stream, then read it in a thread. Blocks.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        self._caretaker.start()
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
            messenger = self._ledger.twin()
            messenger.interrupt(self.stream)
            messenger.close()
            self._thread.join()
        self._caretaker.stop()

    def _beaten(self, backlog: Backlog) -> None:
        if backlog.publishable:
            self._on_room()

    def _run(self) -> None:
        failures = 0
        while not self._is_stopping.is_set():
            started = time.monotonic()
            try:
                returned = self._ledger.outcomes(self.stream, BLOCK_MS)
                self._ledger.contact.answered(since=started)
                failures = 0
            except BackendUnavailableError as exc:
                failures += 1
                self._ledger.contact.lost(exc, since=started)
                self._is_stopping.wait(pause_s(failures))
                continue
            if returned and not self._loop.is_closed():
                self._on_room()
                self._loop.call_soon_threadsafe(self._hand_out, returned)
        self._ledger.close()

    def _hand_out(self, returned: list[Returned]) -> None:
        for each in returned:
            future = self._waiting.get(each.dispatch_id)
            if future is not None and not future.done():
                future.set_result(each)
