"""Ends handlers that run for longer than their `timeout_s`, whatever they are doing.

A coroutine is cancelled by the event loop. Python code that does not yield gets an exception
from a timer signal. Code that hears neither loses its process.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.worker import Call, Failed, TimeLimitError

#: Seconds the event loop has to cancel a coroutine before the signal comes.
LOOPS_TURN_S = 0.25
#: Seconds the signal has to end a function before the process ends.
SIGNALS_TURN_S = 2.0
#: What `sysexits.h` calls a temporary failure; tells an end of ours from a crash in a log.
EXIT_CODE = 75


class TimeLimit:
    """The clock of one process's main thread."""

    def __init__(self) -> None:
        signal.signal(signal.SIGALRM, _strike)

    @contextmanager
    def watch(self, call: Call, give_up: Callable[[Failed], object]) -> Iterator[None]:
        """Bound what runs inside by *call*'s `timeout_s`.

        Args:
            give_up: called from another thread, just before the process ends.

        Raises:
            TimeLimitError: inside, when time is up.
        """
        if call.timeout_s is None:
            yield
            return
        is_over = threading.Event()
        last_resort = threading.Thread(
            target=_outwait, args=(call, is_over, give_up), name="time limit", daemon=True
        )
        last_resort.start()
        signal.setitimer(signal.ITIMER_REAL, call.timeout_s + LOOPS_TURN_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            is_over.set()


def _strike(_number: int, _frame: FrameType | None) -> None:
    raise TimeLimitError


def _outwait(call: Call, is_over: threading.Event, give_up: Callable[[Failed], object]) -> None:
    started = time.monotonic()
    if is_over.wait((call.timeout_s or 0.0) + LOOPS_TURN_S + SIGNALS_TURN_S):
        return
    try:
        give_up(call.overran(time.monotonic() - started))
    finally:
        if not is_over.is_set():
            os._exit(EXIT_CODE)
