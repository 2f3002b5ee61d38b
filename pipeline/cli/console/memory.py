"""What the console remembers of what can't change any more."""

from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memory(Generic[K, V]):
    """The latest *most* things remembered; safe from many threads."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._kept: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """What is remembered of *key*."""
        return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        """Remember, and forget the oldest."""
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
