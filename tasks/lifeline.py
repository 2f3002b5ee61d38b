"""Ends a worker's processes when its main process is gone, however it went."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread


class Lifeline:
    """A pipe whose writing end only the main process holds; its end is the main process's."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None
        self._owner = 0

    def open(self) -> None:
        """Begin, in the main process."""
        self._ends, self._owner = os.pipe(), os.getpid()

    def follow(self) -> None:
        """In a process of the pool: end with the main process.

        What this one runs is run again elsewhere, and its own outcome would come too late.
        """
        if self._ends is None or os.getpid() == self._owner:
            return
        read, write = self._ends
        os.close(write)
        Thread(target=_follow, args=(read,), name="follow main", daemon=True).start()


def _follow(read: int) -> None:
    os.read(read, 1)
    os._exit(1)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """While a handler runs inside, SIGTERM ends this process of the pool then and there.

    Billiard would raise `SystemExit` in the handler's midst, which its caller would be told
    as its failure. A process that has ended is noticed, and what it ran is run elsewhere.
    """
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
