"""The listeners of an organism, as those who route messages see them."""

from collections.abc import Iterable

from backends.chains import COPY_MARK
from pipeline.errors import PayloadTypeError, UnknownListenerError
from pipeline.organism import Listener
from pipeline.settings import near, quoted


class Roster:
    """Listeners by id. An id is the name; those that share a name have one each."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._by_id: dict[str, Listener] = {}
        self._named: dict[str, list[tuple[str, Listener]]] = {}
        for listener in listeners:
            self.add(listener)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, listener: Listener) -> str:
        """Add a listener; its id."""
        namesakes = self._named.setdefault(listener.name, [])
        copy = f"{COPY_MARK}{len(namesakes)}" if namesakes else ""
        listener_id = listener.name + copy
        namesakes.append((listener_id, listener))
        self._by_id[listener_id] = listener
        return listener_id

    def get(self, listener_id: str) -> Listener | None:
        """The listener with this id."""
        return self._by_id.get(listener_id)

    def items(self) -> Iterable[tuple[str, Listener]]:
        """Every listener with its id."""
        return self._by_id.items()

    def named(self, name: str) -> list[tuple[str, Listener]]:
        """Whom a message to *name* reaches.

        Raises:
            UnknownListenerError: nobody has this name; the text suggests a near one.
        """
        found = self._named.get(name)
        if found is None:
            raise UnknownListenerError(
                f"no listener is called {quoted(name)}{near(name, self._named)}"
            )
        return found


def name_of(listener_id: str) -> str:
    """The name behind a listener's id."""
    return listener_id.partition(COPY_MARK)[0]


def check_type(payload_type: type, listener: Listener, sender: str) -> None:
    """Refuse a payload that *listener* does not take.

    Raises:
        PayloadTypeError: *payload_type* is neither the listener's class nor below it.
    """
    if not issubclass(payload_type, listener.payload_class):
        raise PayloadTypeError(
            f"{sender} sent {payload_type.__name__} to {listener.name!r},"
            f" which takes {listener.payload_class.__name__}"
        )
