"""Metrics as plain data: what is counted knows neither Prometheus nor HTTP."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

#: What every name begins with.
PREFIX = "celery_pump_"

#: Upper bounds of buckets, in seconds: of what handlers take and of what messages wait, and of what
#: an event loop or Redis should take.
LONG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: Of the dispatches in one message.
SIZES = (1, 2, 5, 10, 20, 50, 100)


class Distribution:
    """How many observations fell into each bucket. Written by one thread, read by any."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        #: Ascending; what is above the last is counted too.
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count *value*."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


Labels = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """One name, without its prefix, and its rows.

    Counters' names lack the `_total` that Prometheus gets to see.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    rows: Sequence[tuple[Labels, float | Distribution]] = field(default_factory=list)


#: What is asked at each scrape, from a thread.
Collect = Callable[[], Iterable[Metric]]


def gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    """A gauge with one row."""
    return Metric("gauge", name, text, [(labels, value)])


def counter(name: str, text: str, value: float, **labels: str) -> Metric:
    """A counter with one row."""
    return Metric("counter", name, text, [(labels, value)])
