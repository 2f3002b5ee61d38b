"""JSON Lines on either side of an organism: lines become payloads, answers become lines.

Nothing here does I/O, and no error repeats what stood on a line.
"""

import codecs
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from backends.codec import without_value
from pipeline.errors import PipelineError
from pipeline.settings import near, quoted

#: How msgspec writes the place of the payload itself.
ROOT = "$"


class BadLineError(PipelineError):
    """A line is no payload, or an answer no JSON; the text says why."""


class Line(NamedTuple):
    """One line, counted from 1."""

    number: int
    #: Without its newline; None if it was too long to keep.
    data: bytes | None
    #: With its newline.
    size: int

    @property
    def is_blank(self) -> bool:
        """True when nothing stands on it."""
        return self.data is not None and (not self.data or self.data.isspace())


class LineSplitter:
    r"""Cuts chunks of bytes into lines; holds no more than one line that is not over.

    Args:
        max_bytes: a longer line is counted and not kept.

    >>> splitter = LineSplitter(max_bytes=5)
    >>> [line.data for line in splitter.feed(b"one\ntw")]
    [b'one']
    >>> [line.data for line in splitter.feed(b"o\nthree four\nf")], splitter.end()[0].data
    ([b'two', None], b'f')
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._number = 0

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end in *chunk*."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._extend(part)
            lines.append(self._cut(newline=1))
        self._extend(rest)
        return lines

    def end(self) -> list[Line]:
        """The last line, if no newline ended it."""
        return [self._cut(newline=0)] if self._size else []

    def _extend(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _cut(self, *, newline: int) -> Line:
        self._number += 1
        size = self._size
        data = b"".join(self._parts) if size <= self._max_bytes else None
        if data is not None and self._number == 1:
            # RFC 8259, section 8.1: a byte order mark may be ignored.
            data = data.removeprefix(codecs.BOM_UTF8)
        self._parts.clear()
        self._size = 0
        return Line(self._number, data, size + newline)


class PayloadReader:
    """Reads lines as payloads of one class, strictly: no field may be missing or unknown.

    Raises:
        TypeError: the class can't be read from JSON.
        NameError: one of its annotations names nothing.
    """

    def __init__(self, payload_class: type) -> None:
        self._class = payload_class
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(payload_class)
        self._shape = inspect.type_info(payload_class)

    def read(self, data: bytes) -> Any:
        """The payload on a line.

        Raises:
            BadLineError: there is none of this class.
        """
        try:
            plain = msgspec.json.decode(data)
            # msgspec passes over fields it does not know, so they are looked for first.
            unknown = next(unknown_fields(plain, self._shape), None)
            payload = None if unknown else self._decoder.decode(data)
        except UnicodeDecodeError as exc:
            raise BadLineError("not UTF-8") from exc
        except RecursionError as exc:
            raise BadLineError("nested too deeply") from exc
        except msgspec.DecodeError as exc:
            raise BadLineError(self._reason(exc)) from exc
        except Exception as exc:
            # A class's own __post_init__ may raise anything at all.
            raise BadLineError(self._refusal(exc)) from exc
        if unknown:
            raise BadLineError(unknown)
        return payload

    def _reason(self, exc: msgspec.DecodeError) -> str:
        if exc.__cause__ is not None:
            return self._refusal(exc.__cause__)
        text = without_value(str(exc))
        return "JSON is malformed: it ends too early" if "truncated" in text else text

    def _refusal(self, exc: BaseException) -> str:
        return f"{self._class.__name__} refused it with {type(exc).__name__}"


def unknown_fields(value: Any, shape: inspect.Type, path: str = ROOT) -> Iterator[str]:
    """Each field in *value*, plain JSON, that *shape* lacks; the known names are told, not it."""
    if isinstance(shape, inspect.UnionType):
        for each in shape.types:
            yield from unknown_fields(value, each, path)
    elif isinstance(value, dict):
        yield from _unknown_in_object(value, shape, path)
    elif isinstance(value, list):
        for index, (item, inner) in enumerate(zip(value, _items(shape, len(value)), strict=False)):
            yield from unknown_fields(item, inner, f"{path}[{index}]")


def _unknown_in_object(value: dict[str, Any], shape: inspect.Type, path: str) -> Iterator[str]:
    if isinstance(shape, inspect.DictType):
        for item in value.values():
            yield from unknown_fields(item, shape.value_type, f"{path}[...]")
    elif isinstance(shape, inspect.DataclassType):
        known = {field.encode_name: field.type for field in shape.fields}
        for name, item in value.items():
            if name in known:
                yield from unknown_fields(item, known[name], f"{path}.{name}")
            else:
                where = "" if path == ROOT else f" - at `{path}`"
                yield f"{shape.cls.__name__} has no such field{_meant(name, known)}{where}"


def _meant(name: str, known: dict[str, Any]) -> str:
    names = ", ".join(map(quoted, known)) or "none"
    return near(name, known) or f"; it has {names}"


def _items(shape: inspect.Type, length: int) -> list[inspect.Type]:
    """The type of each of *length* items."""
    if isinstance(shape, inspect.CollectionType):
        return [shape.item_type] * length
    return list(shape.item_types) if isinstance(shape, inspect.TupleType) else []


def answer_line(payload: Any) -> bytes:
    """*payload* as a line of JSON.

    Raises:
        BadLineError: JSON has no form for it.
    """
    try:
        return msgspec.json.encode(payload) + b"\n"
    except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as exc:
        name = type(payload).__name__
        raise BadLineError(f"the answer, {name}, can't be written as JSON: {exc}") from exc
