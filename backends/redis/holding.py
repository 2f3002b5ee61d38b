"""The stream entries behind the work that one pump holds."""

from collections.abc import Iterator
from contextlib import contextmanager


class Holding:
    """Entries by what is behind them. Used from one event loop.

    One message may have several: it was given to others while this pump stood still and came
    back, or somebody put a copy into the stream. Each run of its handler ends one of them.
    """

    def __init__(self) -> None:
        self._entries: dict[str, list[bytes]] = {}
        self._all: set[bytes] = set()

    def add(self, key: str, entry: bytes) -> None:
        """Work was taken."""
        self._entries.setdefault(key, []).append(entry)
        self._all.add(entry)

    def snapshot(self) -> set[bytes]:
        """Every entry held now, those that are about to end included."""
        return set(self._all)

    def take(self, key: str) -> bytes:
        """The newest entry of some work, to be ended; `forget` it then, or `give_back`.

        Raises:
            KeyError: none is held.
        """
        entries = self._entries[key]
        entry = entries.pop()
        if not entries:
            del self._entries[key]
        return entry

    def give_back(self, key: str, entry: bytes) -> None:
        """Nothing came of that; unless it has ended all the same."""
        if entry in self._all:
            self._entries.setdefault(key, []).append(entry)

    def forget(self, entry: bytes) -> None:
        """It has ended."""
        self._all.discard(entry)

    @contextmanager
    def ending(self, key: str) -> Iterator[bytes]:
        """The same in one: what fails inside leaves it held."""
        entry = self.take(key)
        try:
            yield entry
        except BaseException:
            self.give_back(key, entry)
            raise
        self.forget(entry)
