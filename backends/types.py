"""Which classes may come off the wire, and how each is decoded.

A record names its type; the name is looked up here and nowhere else, so nothing
is ever imported because a message said so.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from threading import Lock
from types import ModuleType
from typing import Any

import msgspec

from backends.errors import CodecError, UnknownTypeError


def name_of(cls: type) -> str:
    """The name *cls* has on the wire: its module and qualified name.

    A spawned child knows its parent's `__main__` as `__mp_main__`; both read `__main__`.
    """
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}.{cls.__qualname__}"


#: Characters of a name from the wire that an error repeats.
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class WireForm:
    """How a class that is not plain data travels: as `shape`, converted on either side.

    Both functions also get the codec at work, for the payloads nested in theirs.
    """

    shape: Any
    to_wire: Callable[[Any, Any], Any]
    from_wire: Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    cls: type
    decoder: msgspec.msgpack.Decoder[Any]
    form: WireForm | None


class TypeRegistry:
    """The types declared in one process. Safe from many threads."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Entry] = {}
        self.by_class: dict[type, _Entry] = {}
        self._lock = Lock()

    def declare(self, cls: type, form: WireForm | None = None) -> _Entry:
        """Let *cls* come off the wire; its entry.

        Raises:
            CodecError: *cls* is no dataclass, or has a field that can't be decoded.
        """
        known = self.by_class.get(cls)
        if known is not None:
            return known
        if not is_dataclass(cls):
            raise CodecError(f"{name_of(cls)} is not a dataclass; payloads must be dataclasses")
        name = name_of(cls)
        try:
            decoder = msgspec.msgpack.Decoder(form.shape if form else cls)
        except (TypeError, NameError) as exc:
            raise CodecError(f"{name} can't be decoded: {exc}") from exc
        with self._lock:
            entry = self.by_name[name] = self.by_class[cls] = _Entry(name, cls, decoder, form)
        return entry

    def declare_module(self, module: ModuleType) -> None:
        """Let every dataclass that *module* defines or imports come off the wire.

        A dataclass that can't be decoded is left out: it may never be a payload.
        """
        for value in list(vars(module).values()):
            if isinstance(value, type) and is_dataclass(value):
                try:
                    self.declare(value)
                except CodecError:
                    continue

    def entry(self, name: str) -> _Entry:
        """What was declared under *name*.

        Raises:
            UnknownTypeError: nothing was.
        """
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownTypeError(
                f"type {name[:_SHOWN_CHARS]!r} is not declared by this organism; use it as a"
                " payload_class or add its module to serialization.modules"
            ) from None

    def __iter__(self) -> Iterator[type]:
        return iter(tuple(self.by_class))
