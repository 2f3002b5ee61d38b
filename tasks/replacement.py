"""Has a process of the pool that has ended replaced at once, not at Celery's next look.

Celery (5.7) hears of an end by a pipe that closes, and looks once. The kernel closes it a moment
before the process can be waited for; if the look falls into that moment nobody replaces it for up
to 5 s, and what was given to it meanwhile waits as long (celery/celery#9588).
"""

from functools import wraps
from typing import Any

from celery.concurrency.asynpool import AsynPool

#: Seconds until the first further look, each pause twice the one before, and after which Celery's
#: own look is near.
FIRST_S, LAST_S = 0.001, 2.0


def replace_at_once() -> None:
    """Have every pool of this process look again until who has ended is replaced."""
    pools: Any = AsynPool
    if hasattr(pools._event_process_exit, "__wrapped__"):
        return
    look = pools._event_process_exit

    @wraps(look)
    def look_again(pool: Any, hub: Any, process: Any, pause_s: float = FIRST_S) -> None:
        look(pool, hub, process)
        if process in pool._pool and pause_s <= LAST_S:
            hub.call_later(pause_s, look_again, pool, hub, process, pause_s * 2)

    pools._event_process_exit = look_again
