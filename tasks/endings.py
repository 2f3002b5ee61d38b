"""Remembers how processes of the pool have ended: Celery writes that to its log and forgets it."""

import signal
from functools import wraps
from typing import Any

from celery.concurrency.asynpool import AsynPool

#: Ends that are remembered, the latest ones.
_MOST = 1000

#: Exit statuses by process; below 0 the signal that killed it.
_statuses: dict[int, int] = {}


def remember_endings() -> None:
    """Have every pool of this process tell how a process ended before it forgets that it was."""
    pools: Any = AsynPool
    if hasattr(pools.process_flush_queues, "__wrapped__"):
        return
    flush = pools.process_flush_queues

    # What billiard (4.3) does with a process that has ended, right before it leaves the pool.
    @wraps(flush)
    def remember_and_flush(pool: Any, process: Any) -> None:
        status = process.exitcode
        if status is not None:
            # Its id may have been another's before.
            _statuses.pop(process.pid, None)
            _statuses[process.pid] = status
            while len(_statuses) > _MOST:
                del _statuses[next(iter(_statuses))]
        flush(pool, process)

    pools.process_flush_queues = remember_and_flush


def ending_of(pid: int) -> str:
    """How a process ended, such as `SIGKILL` or `exit status 3`; empty where nobody knows.

    Safe from any thread.
    """
    status = _statuses.get(pid)
    if status is None:
        return ""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
