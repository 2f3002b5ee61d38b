"""Which waiting message may start next: plain data structures, no clock and no I/O."""

import math
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
    """Waiting messages that need a place of the same gates, whatever their listener."""

    __slots__ = ("gates", "line", "stack")

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = tuple(gates)
        #: What starts oldest first, and what starts newest first and before all of that;
        #: each with its place in the order of arrival, which counts from 1.
        self.line: deque[tuple[int, T]] = deque()
        self.stack: list[tuple[int, T]] = []

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
        #: How many messages wait.
        self.count = 0

    def add(self, lane: Lane[T], item: T, *, is_outer: bool) -> None:
        """Let *item* wait in *lane*."""
        self._arrivals += 1
        self.count += 1
        if is_outer or not self._is_depth_first:
            lane.line.append((self._arrivals, item))
        else:
            lane.stack.append((self._arrivals, item))
        self._waiting[lane] = None

    def pop(self) -> T | None:
        """Take the next item that may start, and its lane's places; None if none may."""
        if not self.count:
            return None
        best: Lane[T] | None = None
        best_rank = math.inf
        for lane in self._waiting:
            for gate in lane.gates:
                if gate.used >= gate.limit:
                    break
            else:
                rank = -lane.stack[-1][0] if lane.stack else lane.line[0][0]
                if rank < best_rank:
                    best, best_rank = lane, rank
        if best is None:
            return None
        for gate in best.gates:
            gate.used += 1
        _, item = best.stack.pop() if best.stack else best.line.popleft()
        if not best.line and not best.stack:
            del self._waiting[best]
        self.count -= 1
        return item

    def drain(self) -> list[T]:
        """Take everything out, in no promised order."""
        items = [
            item for lane in self._waiting for queue in (lane.stack, lane.line) for _, item in queue
        ]
        for lane in self._waiting:
            lane.stack.clear()
            lane.line.clear()
        self._waiting.clear()
        self.count = 0
        return items
