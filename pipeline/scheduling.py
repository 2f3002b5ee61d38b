"""Which waiting message may start next: plain data structures, no clock and no I/O."""

from collections import deque
from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Order = Literal["breadth-first", "depth-first"]


class Gate:
    """A number of places. A lane may start while each of its gates has one free."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Lane(Generic[T]):
    """The waiting messages of one listener, behind the gates they share with others."""

    __slots__ = ("gates", "inner", "outer")

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        #: From outside, and from handlers; each with its place in the order of arrival.
        self.outer: deque[tuple[int, T]] = deque()
        self.inner: deque[tuple[int, T]] = deque()

    @property
    def is_open(self) -> bool:
        """True when every gate has a free place."""
        for gate in self.gates:  # noqa: SIM110 - asked twice a hop, and all() is slower
            if gate.used >= gate.limit:
                return False
        return True

    def enter(self) -> None:
        """Take one place of every gate."""
        for gate in self.gates:
            gate.used += 1

    def leave(self) -> None:
        """Give the places back."""
        for gate in self.gates:
            gate.used -= 1


class ReadyQueue(Generic[T]):
    """Messages that wait for a free place, in the order the organism asks for.

    `breadth-first` starts the oldest message first, so conversations advance side by
    side. `depth-first` finishes what has begun: the newest message from a handler
    first, and one from outside only when none of those can start.
    """

    def __init__(self, order: Order = "breadth-first") -> None:
        self._is_depth_first = order == "depth-first"
        self._waiting: dict[Lane[T], None] = {}
        self._arrivals = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, lane: Lane[T], item: T, *, is_outer: bool) -> None:
        """Let *item* wait in *lane*."""
        self._arrivals += 1
        self._count += 1
        (lane.outer if is_outer else lane.inner).append((self._arrivals, item))
        self._waiting[lane] = None

    def pop(self) -> T | None:
        """Take the next item that may start, and its lane's places; None if none may."""
        if not self._count:
            return None
        best: Lane[T] | None = None
        best_rank: tuple[int, int] | None = None
        for lane in self._waiting:
            if lane.is_open:
                rank = self._rank(lane)
                if best_rank is None or rank < best_rank:
                    best, best_rank = lane, rank
        if best is None:
            return None
        item = self._take(best)
        if not best.outer and not best.inner:
            del self._waiting[best]
        self._count -= 1
        best.enter()
        return item

    def _rank(self, lane: Lane[T]) -> tuple[int, int]:
        if self._is_depth_first:
            return (0, -lane.inner[-1][0]) if lane.inner else (1, lane.outer[0][0])
        return 0, _oldest(lane)[0][0]

    def _take(self, lane: Lane[T]) -> T:
        if self._is_depth_first and lane.inner:
            return lane.inner.pop()[1]
        return _oldest(lane).popleft()[1]

    def drain(self) -> list[T]:
        """Take everything out; the oldest of each lane first."""
        items = [
            item
            for lane in self._waiting
            for queue in (lane.inner, lane.outer)
            for _, item in queue
        ]
        for lane in self._waiting:
            lane.inner.clear()
            lane.outer.clear()
        self._waiting.clear()
        self._count = 0
        return items


def _oldest(lane: Lane[T]) -> deque[tuple[int, T]]:
    if not lane.inner or (lane.outer and lane.outer[0][0] < lane.inner[0][0]):
        return lane.outer
    return lane.inner
