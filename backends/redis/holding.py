"""The stream entries behind the work that one pump holds."""

from collections.abc import Iterator
from contextlib import contextmanager

from backends.redis.streams import Fields


class Holding:
    """Entries by what is behind them. Used from one event loop.

    One message may have several: it was given to others while this pump stood still and came
    back, or somebody put a copy into the stream. Each run of its handler ends one of them.
    """

    def __init__(self) -> None:
        self._entries: dict[str, list[bytes]] = {}
        #: With what each entry begins a conversation, if it does.
        self._all: dict[bytes, Fields | None] = {}

    def add(self, key: str, entry: bytes, beginning: Fields | None = None) -> None:
        """Work was taken.

        Args:
            beginning: the entry's fields, where it begins a conversation.
        """
        self._entries.setdefault(key, []).append(entry)
        self._all[entry] = beginning

    def beginning(self, key: str) -> Fields | None:
        """With what the entry that `take` would give begins a conversation, if it does.

        Raises:
            KeyError: none is held.
        """
        return self._all.get(self._entries[key][-1])

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
        self._all.pop(entry, None)

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
