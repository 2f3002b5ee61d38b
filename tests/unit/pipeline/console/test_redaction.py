"""What is told of a payload, and that nothing else is."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest

from backends.codec import Codec
from pipeline.cli.console.redaction import MOST_CHARS, MOST_FIELDS, Rule, Summary, summarise


@dataclass
class Inner:
    secret: str


@dataclass
class Outer:
    name: str
    count: int
    ratio: float
    is_new: bool
    raw: bytes
    inner: Inner
    pairs: dict[str, str]
    items: list[str] = field(default_factory=list)
    then: datetime | None = None


WHOLE = Outer(
    "planted-name",
    7171,
    71.71,
    True,
    b"planted-raw",
    Inner("planted-inner"),
    {"planted-key": "planted-value"},
    ["planted-item"],
    datetime(1971, 7, 1, tzinfo=UTC),
)


def told(summary: Summary) -> str:
    return msgspec.json.encode(summary).decode()


def test_names_types_and_sizes() -> None:
    """And no value, not even of what is nested."""
    codec = Codec()
    typed = codec.encode(WHOLE)
    summary = summarise(typed, codec, Rule())
    assert summary.bytes == len(typed)
    assert summary.type.endswith("Outer")
    assert [(each.name, each.type, each.size) for each in summary.fields] == [
        ("name", "text", "12 characters"),
        ("count", "int", ""),
        ("ratio", "float", ""),
        ("is_new", "bool", ""),
        ("raw", "bytes", "11 bytes"),
        ("inner", "map", "1 entry"),
        ("pairs", "map", "1 entry"),
        ("items", "list", "1 item"),
        ("then", "datetime", ""),
    ]
    assert not [word for word in ("planted", "7171", "71.71", "1971") if word in told(summary)]


@pytest.mark.parametrize("shown", ["count", "Outer.count"])
def test_a_named_field_is_shown(shown: str) -> None:
    """Of any class, or of the one that is named."""
    codec = Codec()
    summary = summarise(codec.encode(WHOLE), codec, Rule(frozenset({shown})))
    values = {each.name: each.value for each in summary.fields}
    assert values.pop("count") == "7171"
    assert set(values.values()) == {None}
    other = summarise(codec.encode(WHOLE), codec, Rule(frozenset({"Inner.count", "secret"})))
    assert {each.value for each in other.fields} == {None}


def test_what_is_shown_is_short() -> None:
    """However long the value is."""
    codec = Codec()
    (shown,) = summarise(
        codec.encode(Inner("x" * 10_000)), codec, Rule(frozenset({"secret"}))
    ).fields
    assert shown.value is not None
    assert len(shown.value) == MOST_CHARS + 1


def test_pickles_are_left_alone() -> None:
    """Whoever looks must not run what is in them."""
    codec = Codec(keys=["key"], format="pickle")
    summary = summarise(codec.encode(Inner("planted")), codec, Rule(frozenset({"secret"})))
    assert (summary.note, summary.fields) == ("pickled", ())


@pytest.mark.parametrize(
    "typed",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["Name", "no map"]),
        msgspec.msgpack.encode(["Name"]) + b"\x00",
        b"\x92\xa4Name" + b"\x91" * 5000,
        b"\x92\xa4Name\x81\xa1\xff\x00",
        msgspec.msgpack.encode(["x" * 5000, {n: n for n in range(1000)}]),
        msgspec.msgpack.encode(["Name", {"k" * 5000: msgspec.msgpack.Ext(5, b"planted")}]),
    ],
    ids=range(8),
)
def test_anything_at_all_may_come(typed: bytes) -> None:
    """Damaged, hostile or huge: a summary that is no larger than one."""
    summary = summarise(typed, Codec(), Rule(frozenset({"0", "k" * 5000})))
    assert len(summary.fields) <= MOST_FIELDS
    assert len(told(summary)) < 20_000
