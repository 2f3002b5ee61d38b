"""How listeners have fared lately, from the runs that the console happens to see.

Redis counts hops, not listeners; each conversation that ends is read once, if not too many end at
the same time. So a listener's numbers come from a sample, and the page tells how large it is.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

from backends.mailbox import Hop
from pipeline.messages import ErrorCode
from pipeline.roster import name_of

#: Seconds over which rates are taken; seconds of history that are told.
WINDOW_S, HISTORY_S = 60.0, 120.0
#: Latest runs kept of each listener, and ids remembered so that none is counted twice.
MOST_RUNS, MOST_IDS = 1000, 20_000
_WATCHED = ("hops", "dispatched", "retries", "taken_over", "duplicates", "dead_letters", "refused")


class _Seen(NamedTuple):
    ended_at: float
    seconds: float
    failed: bool
    retries: int
    was_lost: bool


@dataclass(frozen=True)
class Pace:
    """How one listener has fared."""

    #: Runs that have been seen, and how they went.
    runs: int = 0
    per_minute: float = 0.0
    failures: int = 0
    retries: int = 0
    median_s: float | None = None
    p95_s: float | None = None
    longest_s: float | None = None
    last: float | None = None


class Sample:
    """The latest runs of every listener; safe from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._runs: dict[str, deque[_Seen]] = {}
        self._ids: dict[tuple[str, int], None] = {}

    def add(self, hops: Iterable[Hop]) -> None:
        """Take in runs; one that was taken in before is left out."""
        with self._lock:
            for hop in hops:
                if (hop.id, hop.attempt) not in self._ids:
                    self._ids[hop.id, hop.attempt] = None
                    self._add(hop)
            while len(self._ids) > MOST_IDS:
                del self._ids[next(iter(self._ids))]

    def pace(self, listener: str, now: float) -> Pace:
        """How *listener* has fared."""
        with self._lock:
            runs = list(self._runs.get(listener, ()))
        if not runs:
            return Pace()
        # Nobody knows how long it took to kill a worker.
        took = sorted(run.seconds for run in runs if not run.was_lost)
        return Pace(
            runs=len(runs),
            per_minute=self._lately(runs, now) * 60 / WINDOW_S,
            failures=sum(run.failed for run in runs),
            retries=sum(run.retries for run in runs),
            median_s=took[len(took) // 2] if took else None,
            p95_s=took[math.ceil(len(took) * 0.95) - 1] if took else None,
            longest_s=took[-1] if took else None,
            last=max(run.ended_at for run in runs),
        )

    def lately(self, now: float) -> int:
        """Runs that ended within the window, of all listeners."""
        with self._lock:
            return sum(self._lately(runs, now) for runs in self._runs.values())

    def _add(self, hop: Hop) -> None:
        runs = self._runs.setdefault(name_of(hop.to), deque(maxlen=MOST_RUNS))
        ended_at = hop.started_at + hop.duration_s
        # An old conversation that somebody looks up must not displace what is new.
        if len(runs) < MOST_RUNS or ended_at >= runs[0].ended_at:
            was_lost = hop.error == ErrorCode.WORKER_LOST
            retries = hop.attempt - 1
            runs.append(_Seen(ended_at, hop.duration_s, bool(hop.error), retries, was_lost))

    @staticmethod
    def _lately(runs: Iterable[_Seen], now: float) -> int:
        return sum(now - WINDOW_S < run.ended_at <= now + 1 for run in runs)


@dataclass(frozen=True)
class Rates:
    """What has been counted lately, by all pumps and workers."""

    #: Per minute, over the last minute or as long as somebody has looked.
    per_minute: dict[str, float]
    #: Hops in each second, the latest last.
    hops_per_s: list[float]
    #: The part of the hops of the last minute whose runs were seen, 0 to 1; None where none was.
    seen: float | None = None


class Meter:
    """Rates from counters that only grow."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, counts: Mapping[str, int], now: float | None = None) -> None:
        """Take in what the counters say now.

        Args:
            now: on the monotonic clock.
        """
        now = time.monotonic() if now is None else now
        if self._points and counts.get("hops", 0) < self._points[-1][1].get("hops", 0):
            # They have expired, or somebody has emptied the database.
            self._points.clear()
        self._points.append((now, counts))
        while now - self._points[0][0] > HISTORY_S:
            self._points.popleft()

    def rates(self, seen: int) -> Rates:
        """What they have come to.

        Args:
            seen: runs that were seen within the window.
        """
        latest, counts = self._points[-1]
        since, before = next(each for each in self._points if latest - each[0] <= WINDOW_S)
        minutes = (latest - since) / 60
        grown = {name: counts.get(name, 0) - before.get(name, 0) for name in _WATCHED}
        return Rates(
            {name: by / minutes if minutes else 0.0 for name, by in grown.items()},
            self._steps(),
            min(1.0, seen / grown["hops"]) if grown["hops"] else None,
        )

    def _steps(self) -> list[float]:
        return [
            round((after.get("hops", 0) - before.get("hops", 0)) / (then - since), 1)
            for (since, before), (then, after) in pairwise(self._points)
            if then > since
        ]
