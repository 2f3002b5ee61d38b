"""Ends handlers that run for longer than their `timeout_s`, whatever they are doing.

A coroutine is cancelled by the event loop. Python code that does not yield gets an exception
from a timer signal. Code that hears neither loses its process.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from types import FrameType
from typing import NamedTuple

from pipeline.worker import Call, Failed, TimeLimitError, is_coroutine

#: Seconds the event loop has to cancel a coroutine before the signal comes.
LOOPS_TURN_S = 0.25
#: Seconds the signal has to end a function before the process ends.
SIGNALS_TURN_S = 2.0
#: What `sysexits.h` calls a temporary failure; tells an end of ours from a crash in a log.
EXIT_CODE = 75


class _Run(NamedTuple):
    call: Call
    started: float
    ends_at: float
    give_up: Callable[[Failed], object]


class TimeLimit:
    """The clock of one process's main thread."""

    def __init__(self) -> None:
        self._run: _Run | None = None
        self._changed = Condition()
        self._sleeps_until = 0.0
        self._thread: Thread | None = None

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
        limit_s = call.timeout_s + (LOOPS_TURN_S if is_coroutine(call.handler) else 0.0)
        now = time.monotonic()
        self._expect(_Run(call, now, now + limit_s + SIGNALS_TURN_S, give_up))
        # A handler before this one may have left another in its place.
        signal.signal(signal.SIGALRM, _strike)
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            yield
        finally:
            # In this order: it may strike even now, and what has ended must not be given up.
            self._run = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _expect(self, run: _Run) -> None:
        self._run = run
        if self._thread is None:
            self._thread = Thread(target=self._last_resort, name="time limit", daemon=True)
            self._thread.start()
        elif run.ends_at < self._sleeps_until:
            with self._changed:
                self._changed.notify()

    def _last_resort(self) -> None:
        while True:
            run = self._run
            now = time.monotonic()
            if run is not None and now >= run.ends_at:
                try:
                    run.give_up(run.call.overran(now - run.started))
                finally:
                    if self._run is run:
                        os._exit(EXIT_CODE)
                continue
            with self._changed:
                # What begins later ends later, or wakes us.
                wait_s = run.ends_at - now if run is not None else SIGNALS_TURN_S
                self._sleeps_until = now + wait_s
                self._changed.wait(wait_s)


def _strike(_number: int, _frame: FrameType | None) -> None:
    raise TimeLimitError
