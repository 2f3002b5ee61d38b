"""Tasks end, even those that take one cancellation for something else."""

import asyncio

from backends.cancelling import cancel_all


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    """As redis-py does where it meets the end of a time-out."""
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancel_all([task])
    assert task.cancelled()
    assert lost == 2


async def test_tasks_that_have_ended_are_left_alone() -> None:
    """Whatever they ended with."""

    async def failing() -> None:
        raise ValueError

    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    await cancel_all([task])
    assert isinstance(task.exception(), ValueError)
