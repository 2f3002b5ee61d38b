"""Who may come in, who waits, and in which order."""

import asyncio

import pytest

from pipeline.door import Door


class Room:
    """A pump with so many places; what enters is inside once it says so."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.inside = 0
        self.door = Door(lambda entering: self.inside + entering < self.places)

    async def come(self) -> None:
        await self.door.enter()
        self.inside += 1
        self.door.entered()

    def leave(self) -> None:
        self.inside -= 1
        self.door.wake()


async def waiting(room: Room, count: int) -> list[asyncio.Task[None]]:
    """So many who wait at the door, in order."""
    tasks = [asyncio.create_task(room.come()) for _ in range(count)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def test_who_is_entering_takes_a_place() -> None:
    """Two that come at once don't both get the last one."""
    room = Room(1)
    assert room.door.try_enter()
    assert not room.door.try_enter()
    room.door.entered()
    assert room.door.try_enter()


async def test_first_come_first_served() -> None:
    """One gets in for each that leaves, the oldest first, and nobody jumps the queue."""
    room = Room(1)
    await room.come()
    tasks = await waiting(room, 3)
    for count in range(1, 4):
        room.leave()
        assert not room.door.try_enter()
        await asyncio.wait(tasks[:count])
        assert [task.done() for task in tasks] == [n < count for n in range(3)]
    assert room.inside == 1


async def test_who_gives_up_leaves_no_gap() -> None:
    """Cancelled while waiting, or in the moment of being let in."""
    room = Room(1)
    await room.come()
    tasks = await waiting(room, 3)
    tasks[0].cancel()
    room.leave()
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert room.inside == 1


async def test_a_closed_door_turns_everyone_away() -> None:
    """With the reason; those who had given up are passed over."""
    room = Room(1)
    await room.come()
    tasks = await waiting(room, 3)
    tasks[1].cancel()
    room.door.close(RuntimeError("closed"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in outcomes] == [
        RuntimeError,
        asyncio.CancelledError,
        RuntimeError,
    ]
    with pytest.raises(RuntimeError, match="closed"):
        await tasks[0]
