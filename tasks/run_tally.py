"""Counts of runs that a worker's processes share, so that none is lost with the process it was in.

A page of memory made before the fork. Each process of the pool writes a stripe of its own; the one
that replaces it goes on in the same stripe. What is counted is the sum of all.
"""

import mmap
from collections.abc import Sequence
from typing import Any, NamedTuple

from billiard.process import current_process

#: Processes of one pool that have a stripe of their own; more share, and may lose a count.
STRIPES = 512
#: Of one listener: runs completed, runs failed, microseconds spent.
_CELLS = 3


class Runs(NamedTuple):
    """Of one listener on one worker."""

    completed: int
    failed: int
    busy_s: float


class RunTally:
    """Made in the main process; added to by the pool's processes, each from its main thread.

    Args:
        listeners: whose runs are counted.
    """

    def __init__(self, listeners: Sequence[str]) -> None:
        self._places = {name: place * _CELLS for place, name in enumerate(listeners)}
        self._row = max(1, len(listeners)) * _CELLS
        # An aligned word at a time, so that a process that is killed leaves none half written.
        self._cells: Any = memoryview(mmap.mmap(-1, STRIPES * self._row * 8)).cast("Q")

    def add(self, listener: str, duration_s: float, *, is_failed: bool) -> None:
        """Count one run in this process."""
        place = self._places.get(listener)
        if place is None:
            return
        # Celery numbers the processes of a pool; `solo` has one, without a number.
        stripe = getattr(current_process(), "index", 0) % STRIPES
        first = stripe * self._row + place
        self._cells[first + is_failed] += 1
        self._cells[first + 2] += max(0, int(duration_s * 1e6))

    def sums(self) -> dict[str, Runs]:
        """What all processes have counted, those that have ended included."""
        return {
            name: Runs(self._sum(place), self._sum(place + 1), self._sum(place + 2) / 1e6)
            for name, place in self._places.items()
        }

    def _sum(self, cell: int) -> int:
        return int(sum(self._cells[cell :: self._row]))


_shared: list[RunTally] = []


def share_tally(listeners: Sequence[str]) -> RunTally:
    """Have runs counted from now on in this process and those it forks."""
    _shared[:] = [RunTally(listeners)]
    return _shared[0]


def shared_tally() -> RunTally | None:
    """Where runs are counted; None where nobody asks for it."""
    return _shared[0] if _shared else None
