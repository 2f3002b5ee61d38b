"""What may be shown of a payload: its class, its size, its fields' names and types.

Never a value, but for fields that whoever started the console has named. The bytes are taken
apart as plain data: no class of the organism is built, and nothing is ever unpickled.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from backends.codec import Codec
from backends.errors import CodecError
from pipeline.cli.faults import ERROR, GATHERED, Fault, faults_in

#: Fields of one payload, and characters of a name or of a value, that are shown.
MOST_FIELDS, MOST_CHARS = 40, 200
#: Bytes beyond which a payload is not taken apart.
_LARGE_BYTES = 4 * 1024**2

_Typed = tuple[str, msgspec.Raw]
_split: msgspec.msgpack.Decoder[_Typed] = msgspec.msgpack.Decoder(_Typed)
_NAMES: dict[Any, str] = {
    str: "text",
    bytes: "bytes",
    list: "list",
    dict: "map",
    bool: "bool",
    type(None): "none",
}
_UNITS: dict[Any, str] = {str: "character", bytes: "byte", list: "item", dict: "entry"}


@dataclass(frozen=True)
class Rule:
    """What may be told besides."""

    #: Fields whose values may be, as `field` or `Class.field`.
    shown: frozenset[str] = frozenset()
    #: Whether the words of errors may be.
    with_reasons: bool = False


@dataclass(frozen=True)
class Field:
    """One field of a payload."""

    name: str
    #: As it travels: `text`, `int`, `float`, `bool`, `bytes`, `list`, `map`, `none`.
    type: str
    #: How long it is, with its unit; empty where that would tell its value.
    size: str
    #: None unless the field is one of those that may be shown.
    value: str | None = None


@dataclass(frozen=True)
class Summary:
    """A payload without its values."""

    type: str
    bytes: int
    fields: tuple[Field, ...] = ()
    #: Fields that are left out.
    more: int = 0
    #: Why there are no fields; empty where there are, or are none.
    note: str = ""
    #: The failed calls that it tells of.
    faults: tuple[Fault, ...] = ()


def summarise(typed: bytes, codec: Codec, rule: Rule) -> Summary:
    """What may be told of a typed payload."""
    try:
        name = codec.type_name(typed)[:MOST_CHARS]
    except CodecError:
        return Summary("?", len(typed), note="unreadable")
    if codec.pickles and name != GATHERED:
        return Summary(name, len(typed), note="pickled")
    if len(typed) > _LARGE_BYTES:
        return Summary(name, len(typed), note="too large to be taken apart")
    try:
        raw = _split.decode(typed)[1]
        body = msgspec.msgpack.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Summary(name, len(typed), note="unreadable")
    faults = faults_in(name, raw, with_reasons=rule.with_reasons)
    if name == GATHERED and isinstance(body, list):
        body = dict(zip(("results", "errors"), body, strict=False))
    if not isinstance(body, dict):
        return Summary(name, len(typed), faults=faults)
    fields = tuple(_fields(name, body, rule.shown))
    return Summary(name, len(typed), fields, max(0, len(body) - MOST_FIELDS), faults=faults)


def _fields(name: str, body: dict[Any, Any], shown: Collection[str]) -> Iterator[Field]:
    # What the pump itself made holds others' payloads, and their words.
    may_show = name not in (ERROR, GATHERED)
    short = name.rpartition(".")[2]
    for key, value in list(body.items())[:MOST_FIELDS]:
        is_shown = may_show and (key in shown or f"{short}.{key}" in shown)
        yield _field(str(key)[:MOST_CHARS], value, is_shown=is_shown)


def _field(name: str, value: Any, *, is_shown: bool) -> Field:
    kind = type(value)
    size = _counted(len(value), _UNITS[kind]) if kind in _UNITS else ""
    return Field(name, _NAMES.get(kind, kind.__name__), size, _text(value) if is_shown else None)


def _counted(number: int, unit: str) -> str:
    plural = "entries" if unit == "entry" else f"{unit}s"
    return f"{number:,} {unit if number == 1 else plural}"


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return "no form in JSON"
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"
