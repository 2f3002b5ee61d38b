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
        self._process: T | None = None
        self._make = make

    def get(self) -> T:
        """That of the task at hand, else the process's."""
        current = self._current.get()
        if current is not None:
            return current
        if self._process is None:
            self._process = self._make()
        return self._process

    def use(self, value: T | None) -> None:
        """Make *value* this process's, and that of every task started from here."""
        self._process = value
        self._current.set(value)
