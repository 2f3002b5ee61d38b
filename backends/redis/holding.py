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

    @contextmanager
    def ending(self, key: str) -> Iterator[bytes]:
        """The newest entry of some work; no longer held afterwards, unless that fails.

        Raises:
            KeyError: none is held.
        """
        entries = self._entries[key]
        entry = entries.pop()
        if not entries:
            del self._entries[key]
        try:
            yield entry
        except BaseException:
            self._entries.setdefault(key, []).append(entry)
            raise
        self._all.discard(entry)
