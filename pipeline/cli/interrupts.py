"""Ctrl-C and SIGTERM: the first asks to drain, a second one to stop."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console

SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: What a shell reports for a program ended by Ctrl-C.
INTERRUPTED = 130
#: Seconds a stop may take before the process ends as it is. A handler that holds the
#: event loop, or a thread, must not keep anybody waiting.
STOP_S = 2.0


class Interrupts:
    """A context manager around what may be interrupted, on the main thread's event loop.

    Args:
        drain: called on the loop at the first signal.
        stop: called on the loop at the second.
    """

    def __init__(self, drain: Callable[[], object], stop: Callable[[], object]) -> None:
        self._steps = [drain, stop]
        self._former: dict[int, Any] = {}
        self._loop = asyncio.get_running_loop()
        self._wakes, self._woken = socket.socketpair()
        self._former_wakes = -1
        #: Signals so far.
        self.count = 0

    def __enter__(self) -> Self:
        # A signal that comes just before the loop waits, or to another thread, ends no wait.
        for end in (self._wakes, self._woken):
            end.settimeout(0)
        self._loop.add_reader(self._woken, self._woken.recv, 4096)
        self._former_wakes = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        # Not the loop's own handlers: those wait for the loop, which a handler may hold.
        self._former = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.count < len(self._steps):
            for number, former in self._former.items():
                signal.signal(number, former)
        signal.set_wakeup_fd(self._former_wakes)
        self._loop.remove_reader(self._woken)
        self._wakes.close()
        self._woken.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's signature
        self.count += 1
        if self.count <= len(self._steps):
            self._loop.call_soon_threadsafe(self._steps[self.count - 1])
        if self.count == len(self._steps):
            leaving = threading.Timer(STOP_S, _leave)
            leaving.daemon = True
            leaving.start()


def _leave() -> None:
    """End the process at once; the processes of its pool follow it."""
    Console(stderr=True).show_cursor()
    os._exit(INTERRUPTED)
