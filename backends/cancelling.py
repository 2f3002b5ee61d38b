"""Ends tasks for sure."""

import asyncio
from collections.abc import Iterable
from typing import Any

#: Seconds until a task that still runs is cancelled again.
_AGAIN_S = 0.05


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel *tasks* and wait for their end, whatever it is.

    Once is not enough: a cancellation that meets the end of an `asyncio.timeout` inside a
    client library may be taken for it and get lost.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)


def raise_if_cancelled() -> None:
    """End this task if it was cancelled: a blocking read may return as if it had not been."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
