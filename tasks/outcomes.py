"""Brings outcomes back to an event loop: two threads and connections, however many wait."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from uuid import uuid4

from backends.contact import pause_s
from backends.errors import BackendError
from backends.mailbox import Returned
from backends.redis.caretaker import Backlog
from backends.redis.ledger import LedgerClient
from pipeline.errors import NoAnswerError, PumpStoppedError

log = logging.getLogger(__name__)

#: Longest blocking read; a socket's timeout must be longer.
BLOCK_MS = 2000

#: Has a call recorded, and is told of when that has been done, from any thread.
Record = Callable[[Callable[[], None]], None]
#: The id of a call, and how often it had been lost when it was recorded.
Sent = tuple[str, int]


@dataclass(eq=False, slots=True)
class _Expected:
    """A call whose outcome somebody awaits."""

    listener: str
    future: asyncio.Future[Returned]
    record: Record
    #: Redis has it; set by the thread that records it.
    is_recorded: bool = False
    #: How often it was gone from Redis, and no outcome there.
    losses: int = 0

    def send(self) -> None:
        """Have it recorded, for the first time or once more."""
        self.is_recorded = False
        self.record(self._recorded)

    def _recorded(self) -> None:
        self.is_recorded = True


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
        self._waiting: dict[str, _Expected] = {}
        self._is_stopping = Event()
        self._caretaker = ledger.caretaker(self.stream, self._beaten)
        self._caretaker.is_orphaned = self._loop.is_closed
        self._thread = Thread(target=self._run, name="outcomes", daemon=True)
        #: It is time to look for calls that Redis has lost; those recorded when it last was.
        self._must_look, self._looked_at = False, frozenset[Sent]()

    def start(self) -> None:
        """Make the stream, then read it in a thread. Blocks.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        self._caretaker.start()
        self._thread.start()

    def expect(self, dispatch_id: str, listener: str, record: Record) -> asyncio.Future[Returned]:
        """What will come of a dispatch.

        Args:
            record: called at once, and again whenever Redis has lost it.
        """
        expected = _Expected(listener, self._loop.create_future(), record)
        # First: it may raise, and nothing is handed out before we have gone.
        expected.send()
        self._waiting[dispatch_id] = expected
        expected.future.add_done_callback(lambda _: self._waiting.pop(dispatch_id, None))
        return expected.future

    def stop(self) -> None:
        """Read no more. Blocks."""
        self._is_stopping.set()
        if self._thread.is_alive():
            messenger = self._ledger.twin()
            messenger.interrupt(self.stream)
            messenger.close()
            self._thread.join()
        self._caretaker.stop()

    def abandon(self) -> None:
        """Tell whoever still waits that nothing will come."""
        for each in tuple(self._waiting.values()):
            if not each.future.done():
                text = f"executor 'celery' was stopped before {each.listener!r} had ended"
                each.future.set_exception(PumpStoppedError(text))

    def _beaten(self, backlog: Backlog) -> None:
        self._must_look = True
        if backlog.publishable:
            self._on_room()

    def _run(self) -> None:
        failures = 0
        block_ms = min(BLOCK_MS, int(self._ledger.terms.beat_s * 1000))
        while not (self._is_stopping.is_set() or self._loop.is_closed()):
            started = time.monotonic()
            try:
                # In this order: what has ended meanwhile stands in the stream.
                lost = self._lost()
                returned = self._ledger.outcomes(self.stream, 1 if lost else block_ms)
                self._ledger.contact.answered(since=started)
                failures = 0
            except BackendError as exc:
                failures += 1
                self._ledger.contact.lost(exc, since=started)
                self._is_stopping.wait(pause_s(failures))
                continue
            except Exception:
                # A fault of ours: other outcomes must not wait for a restart.
                failures += 1
                log.exception("reading failed", extra={"action": "read"})
                self._is_stopping.wait(pause_s(failures))
                continue
            if returned:
                self._on_room()
            if returned or lost:
                # A loop that closes without our being stopped has nobody left who waits.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._hand_out, returned, lost)
        self._ledger.close()

    def _lost(self) -> list[Sent]:
        """Calls that Redis had, and has no more; looked for once a beat, and not the newest ones.

        Raises:
            BackendError: Redis can't be asked.
        """
        if not self._must_look:
            return []
        self._must_look = False
        # In one step: the loop's thread adds to it meanwhile, and takes from it.
        waiting = self._waiting.copy().items()
        recorded = frozenset((name, each.losses) for name, each in waiting if each.is_recorded)
        asked, self._looked_at = recorded & self._looked_at, recorded
        missing = set(self._ledger.missing([name for name, _ in asked]))
        return [each for each in asked if each[0] in missing]

    def _hand_out(self, returned: list[Returned], lost: list[Sent]) -> None:
        for each in returned:
            expected = self._waiting.get(each.dispatch_id)
            if expected is not None and not expected.future.done():
                expected.future.set_result(each)
        for dispatch_id, losses in lost:
            expected = self._waiting.get(dispatch_id)
            if expected is None or expected.future.done():
                continue
            # It may have been noticed before, and sent again since.
            if expected.losses == losses:
                self._lose(dispatch_id, expected)

    def _lose(self, dispatch_id: str, expected: _Expected) -> None:
        """Send a call again under its id: whoever still runs it comes too late then."""
        expected.losses += 1
        most = self._ledger.terms.max_attempts
        fields = {"id": dispatch_id, "listener": expected.listener, "count": expected.losses}
        log.warning("call lost by redis", extra={"action": "dispatch", **fields})
        if expected.losses < most:
            expected.send()
            return
        text = (
            f"Redis has lost a call of {expected.listener!r} {most} times (celery.max_attempts);"
            " something deletes its keys, or a worker refuses its record: see the workers' logs"
        )
        expected.future.set_exception(NoAnswerError(text))
