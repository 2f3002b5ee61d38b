"""Publishes recorded dispatches: a thread of the pump, so that no broker ever blocks its loop."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any, NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError

from backends.contact import pause_s
from backends.errors import BackendError, BackendRefusingError, BackendUnavailableError
from backends.mailbox import TaskMessage
from backends.redis.ledger import Batch, LedgerClient, ids_in
from backends.redis.records import Dispatch
from pipeline.organism import Organism
from pipeline.roster import name_of
from tasks.broker import TIMEOUT_S, BrokerWatch
from tasks.carriers import Carriers
from tasks.events import GATHERING_S, MOST_GATHERED, EventWriter, Fields, sent_event
from tasks.full_broker import publish_though_full
from tasks.names import task_name
from tasks.pace import Pace

log = logging.getLogger(__name__)

#: Dispatches taken from the ledger at a time.
MOST = 1000


class _Unrecorded(NamedTuple):
    """A dispatch that is not in the ledger yet."""

    id: str
    kept: bytes
    stream: str
    on_recorded: Callable[[], None]


class Publisher:
    """Sends what the ledger holds to the broker, as far ahead as the window allows.

    Args:
        app: the organism's application.
        ledger: asked by the publisher's thread alone, and closed by it.
        is_stopping: set by `stop`; ends *ledger*'s waiting too.
        sizes: counts the messages sent, by how many dispatches each carried.
    """

    def __init__(
        self,
        app: Celery,
        organism: Organism,
        ledger: LedgerClient,
        is_stopping: Event,
        *,
        sizes: Counter[int],
    ) -> None:
        self._app = app
        self._organism = organism
        self._ledger = ledger
        self._is_stopping = is_stopping
        self._watch = BrokerWatch(app, organism)
        #: What is known of the handlers' durations.
        self.pace = Pace(organism.celery.batch_budget_ms / 1000)
        self._queue = organism.celery.queue
        self._connection: Any = None
        self._carriers: Carriers | None = None
        self._events: Any = None
        self._unrecorded: deque[_Unrecorded] = deque()
        self._is_in_doubt = False
        self._sizes = sizes
        #: What monitors have not been told, and when they last were.
        self._untold: deque[Fields] = deque()
        self._told_at = 0.0
        self._wakeup, self._is_wanted = Event(), False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._watch.contact.subscribe(self._distrust)
        self._ledger.contact.subscribe(self._distrust)
        self._thread = Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()
        self.wake()

    def _distrust(self) -> None:
        """An answer went astray: what was sent before it may have been lost as well."""
        self._is_in_doubt = True
        self.wake()

    def wake(self) -> None:
        """There may be dispatches to publish. Safe from any thread."""
        self._is_wanted = True
        if not self._wakeup.is_set():
            self._wakeup.set()

    def message_for(self, listener: str, dispatch_id: str) -> TaskMessage | None:
        """What carries a dispatch; None where it must be published here. Safe from any thread."""
        carriers = self._carriers
        return None if carriers is None else carriers.message_for(listener, dispatch_id)

    def tell_of(self, listener: str, dispatch_id: str) -> None:
        """Have monitors told of a dispatch that was not sent from here. Safe from any thread."""
        name = task_name(self._organism, listener)
        self._untold.append(sent_event(dispatch_id, name, self._queue))
        if len(self._untold) == 1:
            self._wakeup.set()

    def record(
        self, dispatch_id: str, dispatch: Dispatch, stream: str, on_recorded: Callable[[], None]
    ) -> None:
        """Record a dispatch whose outcome *stream* awaits, then publish it. Does not block.

        Args:
            on_recorded: called from the publisher's thread.

        Raises:
            ValueError: it can't be encoded.
        """
        # Here, or one that fails would keep back all others.
        kept = self._ledger.sealed(dispatch_id, name_of(dispatch.envelope.to), dispatch)
        self._unrecorded.append(_Unrecorded(dispatch_id, kept, stream, on_recorded))
        self.wake()

    def stop(self) -> None:
        """Publish no more. Blocks until what is being sent has been, or has failed."""
        self._is_stopping.set()
        self.wake()
        self._watch.contact.unsubscribe(self._distrust)
        self._ledger.contact.unsubscribe(self._distrust)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        try:
            while not self._is_stopping.is_set():
                self._wait()
                try:
                    is_sent = self._publish_all()
                except BackendUnavailableError:
                    # Only a publisher that is being stopped waits no longer.
                    return
                except Exception:
                    # A fault of ours: the next dispatch must not wait for a restart.
                    log.exception("publishing failed", extra={"action": "publish"})
                    is_sent = False
                failures = 0 if is_sent else failures + 1
                if failures and not self._is_stopping.wait(pause_s(failures)):
                    self.wake()
        finally:
            self._tell()
            self._disconnect()
            self._ledger.close()

    def _wait(self) -> None:
        """Until there is something to publish; monitors are told meanwhile."""
        while not self._is_wanted:
            left_s = None
            if self._untold:
                is_enough = len(self._untold) >= MOST_GATHERED
                left_s = 0.0 if is_enough else self._told_at + GATHERING_S - time.monotonic()
            if left_s is not None and left_s <= 0:
                self._tell()
                continue
            self._wakeup.wait(left_s)
            # Before it is looked at what for: who wakes us says that first.
            self._wakeup.clear()
        self._is_wanted = False

    def _publish_all(self) -> bool:
        """Publish while there is room; false if the broker or the ledger would not take it."""
        if self._is_in_doubt:
            self._is_in_doubt = False
            self._ledger.publish_again()
        while not self._is_stopping.is_set():
            is_kept = self._record_all()
            window = self._organism.celery.window
            known = self.pace.sizes(), self.pace.enough()
            batches = self._ledger.publishable(window, MOST, *known)
            if not batches:
                return is_kept
            if not self._send_all(batches):
                return False
            if not self._ledger.may_have_more:
                return is_kept
        return True

    def _record_all(self) -> bool:
        """Record what is not; false if there is no room, which comes of what is published."""
        while self._unrecorded:
            each = self._unrecorded[0]
            try:
                self._ledger.keep(each.id, each.kept, each.stream)
            except BackendRefusingError:
                return False
            self._unrecorded.popleft().on_recorded()
        return True

    def _send_all(self, batches: Sequence[Batch]) -> bool:
        started = time.monotonic()
        try:
            if self._carriers is None:
                self._carriers = self._connect()
            self._carriers.send(batches)
        except self._errors() as exc:
            self._lost(exc, started)
            # What was sent all the same is a copy, or was claimed.
            self._ledger.put_back(batches)
            return False
        self._watch.contact.answered(since=started)
        for batch in batches:
            name, members = task_name(self._organism, batch.listener), ids_in(batch.ids)
            self._sizes[len(members)] += 1
            self._untold += [sent_event(each, name, self._queue) for each in members]
        return True

    def _tell(self) -> None:
        """Tell monitors what was sent: afterwards, as Celery does it, and not each by itself."""
        started = time.monotonic()
        events = [self._untold.popleft() for _ in range(len(self._untold))]
        self._told_at = started
        try:
            if events and self._events is not None:
                self._events.write(events)
        except self._errors() as exc:
            self._lost(exc, started)

    def _lost(self, reason: BaseException, since: float) -> None:
        self._watch.lost(reason, since=since)
        self._disconnect()

    def _connect(self) -> Carriers:
        self._connection = self._app.connection_for_write()
        self._connection.ensure_connection(
            max_retries=1, timeout=TIMEOUT_S, reraise_as_library_errors=False
        )
        publish_though_full(self._connection.default_channel)
        self._events = EventWriter(self._app, self._connection)
        return Carriers(self._app, self._organism, self._connection)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        carriers, self._carriers, self._events = self._carriers, None, None
        if connection is not None:
            try:
                if carriers is not None:
                    carriers.close()
                connection.close()
            except Exception as exc:  # noqa: BLE001 - it is gone, one way or another
                log.debug("broker connection not closed", extra={"reason": exc})

    def _errors(self) -> tuple[type[BaseException], ...]:
        """What is raised when the broker can't be reached; partly its own library's."""
        if self._connection is None:
            return OperationalError, OSError, BackendError
        own = (*self._connection.connection_errors, *self._connection.channel_errors)
        return OperationalError, OSError, BackendError, *own
