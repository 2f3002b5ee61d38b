"""What handlers find without being handed it, each its own pump's."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class Ambient(Generic[T]):
    """One thing for the process, and one for the tasks of each pump in it.

    Args:
        name: for debuggers.
        make: what the process has when nobody said.
    """

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self._current: ContextVar[T | None] = ContextVar(name, default=None)
        #: What the process has been given, the newest last.
        self._process: list[T] = []
        self._make = make

    def get(self) -> T:
        """That of the task at hand, else the process's."""
        current = self._current.get()
        if current is not None:
            return current
        if not self._process:
            self._process.append(self._make())
        return self._process[-1]

    def use(self, value: T | None) -> None:
        """Make *value* this process's, and that of every task started from here."""
        if value is None:
            self._process.clear()
        else:
            self._process.append(value)
        self._current.set(value)

    def leave(self, value: T) -> None:
        """*value* is of no more use: the process's is the newest of the others."""
        self._process = [each for each in self._process if each is not value]
        if self._current.get() is value:
            self._current.set(None)
