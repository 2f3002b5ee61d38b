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


def cancellations() -> int:
    """How often this task has been cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def raise_if_cancelled(*, since: int = 0) -> None:
    """End this task if it was cancelled, though what it awaited returned as if it had not been.

    Args:
        since: `cancellations` before.
    """
    if cancellations() > since:
        raise asyncio.CancelledError
