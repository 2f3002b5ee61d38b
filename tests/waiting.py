"""Waiting for a condition, with a deadline instead of a guess."""

import time
from collections.abc import Callable

#: Seconds between looks.
_PAUSE_S = 0.01


def eventually(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
    """True as soon as *condition* holds; false when it still does not after *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True
