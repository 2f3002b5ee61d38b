"""Events of handler runs, as Celery's monitors expect them: one set for each, batched or not.

A task message may carry many runs, and Celery's own events would tell of the message. Events
are for those who watch, and may be lost; the ledger is the truth.
"""

import logging
import os
import time
from collections import deque
from threading import Condition, Event, Thread
from typing import Any

import msgspec
from celery import Celery
from celery.events.event import get_exchange
from celery.utils.nodenames import anon_nodename
from celery.utils.time import utcoffset
from kombu.messaging import Producer

from backends.contact import pause_s

log = logging.getLogger(__name__)

Fields = dict[str, Any]

#: A tenth of what Celery's own serializer takes.
_encode = msgspec.json.Encoder().encode

#: Where monitors listen for several events in one message.
ROUTING_KEY = "task.multi"
#: Events kept while the broker is away, or slow.
MOST_KEPT = 10_000
#: Seconds to gather events for one message, and how many are not kept waiting for more: publishing
#: one costs a millisecond, more than a short run.
GATHERING_S, MOST_GATHERED = 1.0, 2_000
#: Seconds that the last events may keep a process from ending.
LAST_WORDS_S = 1.0


def sent_event(dispatch_id: str, name: str, queue: str) -> Fields:
    """A run was handed to the broker."""
    return _event(
        "task-sent",
        dispatch_id,
        name=name,
        args="()",
        kwargs="{}",
        retries=_retries(dispatch_id),
        eta=None,
        expires=None,
        root_id=dispatch_id,
        parent_id=None,
        queue=queue,
        exchange=queue,
        routing_key=queue,
    )


def received_event(dispatch_id: str, name: str) -> Fields:
    """A run has reached a worker's process, and is its to do."""
    return _event(
        "task-received",
        dispatch_id,
        name=name,
        args="()",
        kwargs="{}",
        retries=_retries(dispatch_id),
        eta=None,
        expires=None,
        root_id=dispatch_id,
        parent_id=None,
    )


def started_event(dispatch_id: str) -> Fields:
    """A run begins."""
    return _event("task-started", dispatch_id)


def succeeded_event(dispatch_id: str, runtime_s: float) -> Fields:
    """A handler returned."""
    return _event("task-succeeded", dispatch_id, result="None", runtime=runtime_s)


def failed_event(dispatch_id: str, reason: str) -> Fields:
    """A handler did not return; *reason* tells nothing of its payload."""
    return _event("task-failed", dispatch_id, exception=reason, traceback="")


def _event(kind: str, dispatch_id: str, **fields: Any) -> Fields:
    return {"type": kind, "uuid": dispatch_id, "timestamp": time.time(), **fields}


def _retries(dispatch_id: str) -> int:
    _, mark, attempt = dispatch_id.rpartition("~")
    return int(attempt) - 1 if mark and attempt.isdecimal() else 0


class EventWriter:
    """Writes events on a connection of the caller's.

    Args:
        node: who says so; by default this process, which is no worker.
    """

    def __init__(self, app: Celery, connection: Any, node: str = "") -> None:
        self._about = {
            "hostname": node or anon_nodename(),
            "pid": os.getpid(),
            "utcoffset": utcoffset(),
        }
        self._exchange = get_exchange(connection, name=app.conf.event_exchange)
        self._producer = Producer(connection, exchange=self._exchange)

    def write(self, events: list[Fields]) -> None:
        """Publish *events* in one message.

        Raises:
            OperationalError: or what the broker's library raises, when it can't be reached.
        """
        for event in events:
            event.update(self._about)
        self._producer.publish(
            _encode(events),
            content_type="application/json",
            content_encoding="utf-8",
            routing_key=ROUTING_KEY,
            declare=[self._exchange],
            retry=False,
            delivery_mode=1,
        )


class EventSender:
    """Sends events from a thread of its own, so that no run waits for those who watch.

    The first goes at once, those of the next second together; or of less, where there are many.
    """

    def __init__(self, app: Celery, node: str) -> None:
        self._app = app
        self._node = node
        self._kept: deque[Fields] = deque(maxlen=MOST_KEPT)
        self._wakeup, self._is_closing = Event(), Event()
        #: Set where events should not be gathered for longer.
        self._hurry = Event()
        #: Held to change whether events are on their way; told when they are no more.
        self._rest, self._is_writing = Condition(), False
        self._connection: Any = None
        self._writer: EventWriter | None = None
        self._thread = Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def send(self, *events: Fields) -> None:
        """Send these soon. Does not block; the oldest are dropped when there are too many."""
        self._kept.extend(events)
        if not self._wakeup.is_set():
            self._wakeup.set()
        if len(self._kept) >= MOST_GATHERED and not self._hurry.is_set():
            self._hurry.set()

    def drain(self) -> None:
        """Wait until what there is has been sent, unless that takes long."""
        self._hurry.set()
        with self._rest:
            self._rest.wait_for(lambda: not self._kept and not self._is_writing, LAST_WORDS_S)

    def close(self) -> None:
        """Send what is left, unless that takes long, and end."""
        self._is_closing.set()
        self._wakeup.set()
        self._hurry.set()
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        failures = 0
        while not self._is_closing.is_set():
            self._wakeup.wait()
            self._wakeup.clear()
            # Before, or whoever is in a hurry meanwhile would wait.
            self._hurry.clear()
            failures = 0 if self._write() else failures + 1
            if failures:
                # However much is kept.
                self._is_closing.wait(pause_s(failures))
            elif not self._is_closing.is_set():
                self._hurry.wait(GATHERING_S)
        self._write()

    def _write(self) -> bool:
        with self._rest:
            self._is_writing = True
        try:
            if self._writer is None:
                self._connection = self._app.connection_for_write()
                self._writer = EventWriter(self._app, self._connection, self._node)
            while self._kept:
                self._writer.write(self._taken())
        except Exception as exc:  # noqa: BLE001 - whatever it is, runs go on
            log.debug("events lost", extra={"action": "events", "reason": exc})
            if self._connection is not None:
                self._connection.collect()
            self._connection, self._writer = None, None
            return False
        finally:
            with self._rest:
                self._is_writing = False
                self._rest.notify_all()
        return True

    def _taken(self) -> list[Fields]:
        return [self._kept.popleft() for _ in range(len(self._kept))]
