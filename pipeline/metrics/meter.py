"""What a pump's events come to, by listener."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipeline.events import (
    DeadLettered,
    Event,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    MessageReceived,
)
from pipeline.messages import WITHOUT_RUN, ErrorCode
from pipeline.metrics.shapes import LONG_S, Distribution, Metric

#: Stands for every name that the organism does not declare: a label must not grow with what comes.
OTHER = "(other)"


class _Counts:
    """Of one listener."""

    __slots__ = ("dead_letters", "durations", "failures", "received", "retries", "started", "waits")

    def __init__(self) -> None:
        self.received = self.started = self.retries = self.dead_letters = 0
        self.durations = Distribution(LONG_S)
        self.waits = Distribution(LONG_S)
        self.failures: Counter[str] = Counter()


class PumpMeter:
    """Counts the events of one pump: subscribe it. Written on the event loop, read by any thread.

    Args:
        listeners: whom the organism declares.
    """

    def __init__(self, listeners: Iterable[str]) -> None:
        self._counts = {name: _Counts() for name in (*listeners, OTHER)}
        self._other = self._counts[OTHER]
        self._actions: dict[type, Callable[[Any], None]] = {
            MessageReceived: self._received,
            HandlerStarted: self._started,
            HandlerFinished: self._finished,
            HandlerFailed: self._failed,
            DeadLettered: self._dead_lettered,
        }

    def __call__(self, event: Event) -> None:
        """Count one event."""
        action = self._actions.get(type(event))
        if action is not None:
            action(event)

    def _of(self, name: str) -> _Counts:
        return self._counts.get(name, self._other)

    def _received(self, event: MessageReceived) -> None:
        self._of(event.to).received += 1

    def _started(self, event: HandlerStarted) -> None:
        self._of(event.listener).started += 1

    def _finished(self, event: HandlerFinished) -> None:
        counts = self._of(event.listener)
        counts.durations.observe(event.duration_s)
        if event.waited_s is not None:
            counts.waits.observe(event.waited_s)

    def _failed(self, event: HandlerFailed) -> None:
        counts = self._of(event.listener)
        counts.failures[str(event.error.code)] += 1
        if event.will_retry:
            counts.retries += 1
        if event.error.code not in WITHOUT_RUN:
            counts.durations.observe(event.duration_s)
        if event.waited_s is not None:
            counts.waits.observe(event.waited_s)

    def _dead_lettered(self, event: DeadLettered) -> None:
        self._of(event.listener).dead_letters += 1

    def collect(self) -> Iterator[Metric]:
        """What has been counted so far."""
        for name, text in _COUNTERS.items():
            rows = [({"listener": each}, getattr(of, name)) for each, of in self._counts.items()]
            yield Metric("counter", _NAMES.get(name, name), text, rows)
        for name, text in _DISTRIBUTIONS.items():
            rows = [({"listener": each}, getattr(of, name)) for each, of in self._counts.items()]
            yield Metric("histogram", _NAMES[name], text, rows)
        yield Metric(
            "counter",
            "handler_failures",
            "Runs of handlers that failed, by error code; those tried again included.",
            [
                ({"listener": each, "code": code.value}, of.failures[code.value])
                for each, of in self._counts.items()
                for code in ErrorCode
            ],
        )


_COUNTERS = {
    "received": "Messages from outside that this pump accepted.",
    "started": "Runs of handlers that this pump began, or handed to workers.",
    "retries": "Failed runs that are tried again.",
    "dead_letters": "Messages that this pump set aside as dead letters.",
}
_DISTRIBUTIONS = {
    "durations": "Seconds that handlers ran, wherever they ran; of the hops this pump settled.",
    "waits": "Seconds between a message's sending and its handler's start, by both clocks.",
}
_NAMES = {
    "received": "messages_received",
    "started": "handlers_started",
    "durations": "handler_duration_seconds",
    "waits": "queue_wait_seconds",
}
