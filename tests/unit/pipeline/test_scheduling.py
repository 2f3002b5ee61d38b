"""Which message starts next."""

import pytest

from pipeline.scheduling import Gate, Lane, Order, ReadyQueue


def _drain(queue: ReadyQueue[str], lanes: list[Lane[str]]) -> list[str]:
    started: list[str] = []
    while (item := queue.pop()) is not None:
        started.append(item)
        for lane in lanes:
            while any(gate.used for gate in lane.gates):
                lane.leave()
    return started


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("breadth-first", ["out1", "in1", "out2", "in2"]),
        ("depth-first", ["in2", "in1", "out1", "out2"]),
    ],
)
def test_the_order_is_the_organisms_choice(order: Order, expected: list[str]) -> None:
    """Breadth-first is by age; depth-first finishes what has begun, newest first."""
    queue: ReadyQueue[str] = ReadyQueue(order)
    one: Lane[str] = Lane([])
    other: Lane[str] = Lane([])
    queue.add(one, "out1", is_outer=True)
    queue.add(other, "in1", is_outer=False)
    queue.add(other, "out2", is_outer=True)
    queue.add(one, "in2", is_outer=False)
    assert _drain(queue, []) == expected
    assert queue.count == 0


def test_a_full_lane_holds_nobody_else_up() -> None:
    """An agent at its limit waits alone."""
    shared = Gate(10)
    busy: Lane[str] = Lane([shared, Gate(1)])
    idle: Lane[str] = Lane([shared])
    queue: ReadyQueue[str] = ReadyQueue()
    for name in ("a1", "a2"):
        queue.add(busy, name, is_outer=True)
    queue.add(idle, "b1", is_outer=True)
    assert [queue.pop(), queue.pop(), queue.pop()] == ["a1", "b1", None]
    busy.leave()
    assert queue.pop() == "a2"


def test_a_shared_gate_bounds_all_its_lanes() -> None:
    """No more start than the gate has places, however many lanes there are."""
    gate = Gate(2)
    lanes: list[Lane[int]] = [Lane([gate]) for _ in range(3)]
    queue: ReadyQueue[int] = ReadyQueue()
    for number, lane in enumerate(lanes):
        queue.add(lane, number, is_outer=True)
    assert [queue.pop(), queue.pop(), queue.pop()] == [0, 1, None]
    assert gate.used == 2


def test_drain_returns_what_never_started() -> None:
    """A pump that stops can say how much it drops."""
    lane: Lane[str] = Lane([Gate(1)])
    queue: ReadyQueue[str] = ReadyQueue()
    for name in ("a", "b", "c"):
        queue.add(lane, name, is_outer=False)
    queue.pop()
    assert queue.drain() == ["b", "c"]
    assert queue.count == 0
    assert queue.pop() is None
