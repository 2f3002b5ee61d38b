"""The wire codec: what goes out comes back, and nothing else comes in."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.codec import Codec, deserialize_slot, serialize_slot
from backends.errors import (
    CodecError,
    RecordVersionError,
    SignatureError,
    UnknownTypeError,
)
from backends.slots import BufferSlot, SlotMetadata
from backends.types import TypeRegistry, name_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Inner:
    number: int


@dataclass
class Everything:
    text: str
    data: bytes
    when: datetime
    day: date
    span: timedelta
    uid: UUID
    price: Decimal
    colour: Colour
    inner: Inner
    inners: list[Inner]
    table: dict[str, Inner]
    pairs: tuple[int, str]
    maybe: Inner | None = None
    nothing: int | None = None
    numbers: set[int] = field(default_factory=set)


@dataclass
class Choosy:
    colour: Colour | None = None
    size: Literal["small", "large"] | None = None


EVERYTHING = Everything(
    text="h\u00e9llo \u2603",
    data=bytes(range(256)),
    when=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    day=date(2026, 1, 2),
    span=timedelta(seconds=1.5),
    uid=UUID(int=7),
    price=Decimal("12.340"),
    colour=Colour.BLUE,
    inner=Inner(1),
    inners=[Inner(2), Inner(3)],
    table={"a": Inner(4)},
    pairs=(1, "x"),
    maybe=Inner(5),
    numbers={1, 2},
)


def _slot(payload: Any, thread_id: str = "t") -> BufferSlot:
    metadata = SlotMetadata(
        thread_id=thread_id,
        from_id="a",
        to_id="b",
        slot_index=3,
        timestamp="2026-01-02T03:04:05+00:00",
        payload_type=type(payload).__name__,
        own_name="b",
        is_self_call=True,
        usage_instructions="use it",
    )
    return BufferSlot(payload, metadata)


def test_a_field_with_a_default_may_come_and_one_may_go() -> None:
    """Old and new code read each other's payloads while a fleet is deployed."""

    @dataclass
    class Text:
        words: str
        tongue: str = "en"

    longer = Text

    @dataclass
    class Text:  # type: ignore[no-redef] # the same class, a deploy earlier
        words: str

    old, new = Codec(types=TypeRegistry()), Codec(types=TypeRegistry())
    written, answer = old.encode(Text("yes")), new.encode(longer("oui", "fr"))
    assert new.decode(written) == longer("yes", "en")
    assert old.decode(answer) == Text("oui")


def test_a_slot_comes_back_equal() -> None:
    """Nested dataclasses, containers, Optional, Enum, datetime, UUID, Decimal and bytes."""
    slot = _slot(EVERYTHING)
    assert deserialize_slot(serialize_slot(slot)) == slot


numbers = st.integers(-(2**63), 2**64 - 1)
inners = st.builds(Inner, numbers)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.builds(
        Everything,
        when=st.datetimes(timezones=st.none() | st.just(UTC) | zones),
        price=st.decimals(allow_nan=False),
        inner=inners,
        inners=st.lists(inners),
        table=st.dictionaries(st.text(), inners),
        pairs=st.tuples(numbers, st.text()),
        maybe=st.none() | inners,
        nothing=st.none() | numbers,
        numbers=st.sets(numbers),
    )
)
def test_any_value_of_these_types_comes_back_equal(payload: Everything) -> None:
    """Extremes, empty containers and odd time zones included."""
    slot = _slot(payload)
    assert deserialize_slot(serialize_slot(slot)) == slot


def test_slots_are_frozen() -> None:
    """Nobody rewrites what a thread remembers."""
    slot = _slot(EVERYTHING)
    with pytest.raises(AttributeError):
        slot.metadata.from_id = "mallory"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        slot.payload = Inner(1)  # type: ignore[misc]


def test_a_payload_must_be_a_dataclass() -> None:
    """Anything else is refused by name."""
    with pytest.raises(CodecError, match="builtins.dict is not a dataclass"):
        serialize_slot(_slot({"a": 1}))


def test_a_value_that_cannot_be_encoded_names_its_class() -> None:
    """The error says which payload class holds it."""

    @dataclass
    class Holder:
        value: Any

    with pytest.raises(CodecError, match="Holder can't be encoded"):
        serialize_slot(_slot(Holder(object())))
    with pytest.raises(CodecError, match="Holder can't be encoded"):
        serialize_slot(_slot(Holder(2**70)))


def test_a_cyclic_payload_is_refused() -> None:
    """No crash, no hang: one typed error."""

    @dataclass
    class Node:
        children: list[Any]

    node = Node([])
    node.children.append(node)
    with pytest.raises(CodecError, match="Node can't be encoded"):
        serialize_slot(_slot(node))


def test_a_class_that_cannot_be_decoded_is_refused_when_declared() -> None:
    """The mistake shows before any message is sent."""

    @dataclass
    class Other:
        number: int

    @dataclass
    class Either:
        value: Inner | Other

    with pytest.raises(CodecError, match="Either can't be decoded"):
        TypeRegistry().declare(Either)


def test_an_undeclared_type_is_not_resolved() -> None:
    """Only what the organism declares, or this process has encoded, comes off the wire."""
    record = Codec(types=TypeRegistry()).encode(Inner(1))
    stranger = Codec(types=TypeRegistry())
    with pytest.raises(UnknownTypeError, match="Inner.*serialization.modules"):
        stranger.decode(record)
    stranger.types.declare(Inner)
    assert stranger.decode(record) == Inner(1)


def test_a_module_declares_all_its_dataclasses() -> None:
    """What a handler's module defines or imports may be a reply."""
    module = ModuleType("somewhere")
    module.Inner = Inner  # type: ignore[attr-defined]
    module.number = 7  # type: ignore[attr-defined]
    types = TypeRegistry()
    types.declare_module(module)
    assert list(types) == [Inner]


def test_a_wrong_value_is_refused_when_decoded() -> None:
    """Dataclasses don't check their fields; the wire does."""
    codec = Codec()
    typed = codec.encode(Inner("seven"))  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="Expected `int`, got `str`"):
        codec.decode(typed)


@pytest.mark.parametrize("record", [b"", b"\x02", b"\x01\x00abc", b"\x02\x07abc", b"garbage"])
def test_an_unknown_format_version_is_a_clear_error(record: bytes) -> None:
    """Every record starts with a version; an unknown one is refused as such."""
    with pytest.raises(RecordVersionError, match="record"):
        deserialize_slot(record)


@pytest.mark.parametrize("field", ["colour", "size"])
def test_an_error_does_not_repeat_a_value(field: str) -> None:
    """It travels, is logged, and listed as a dead letter's reason."""
    codec = Codec(types=TypeRegistry())
    codec.types.declare(Choosy)
    values: dict[str, Any] = {field: "a secret - at last"}
    payload = Choosy(**values)
    with pytest.raises(CodecError) as caught:
        codec.decode(codec.encode(payload))
    assert str(caught.value).endswith(f"a value that is not allowed - at `$.{field}`")


def test_damaged_bytes_are_a_codec_error() -> None:
    """Cut or changed anywhere, an unsigned slot is refused or differs; it never crashes."""
    record = serialize_slot(_slot(Inner(7)))
    for end in range(2, len(record)):
        with pytest.raises(CodecError):
            deserialize_slot(record[:end])


class TestSigning:
    def test_a_tag_is_bound_to_bytes_and_place(self) -> None:
        """A record can't be changed, moved or passed off as another kind."""
        codec = Codec(keys=["k" * 32], realm="xp:")
        record = codec.seal(b"body", "message", "thread-1", "id-1")
        assert codec.open(record, "message", "thread-1", "id-1") == b"body"
        for place in (
            ("message", "thread-1", "id-2"),
            ("message", "thread-2", "id-1"),
            ("answer", "thread-1", "id-1"),
            ("message", "thread-1id-1"),
            ("message", "thread-1", "id-1", ""),
        ):
            with pytest.raises(SignatureError):
                codec.open(record, *place)
        for position in range(len(record)):
            forged = bytearray(record)
            forged[position] ^= 1
            with pytest.raises(CodecError):
                codec.open(bytes(forged), "message", "thread-1", "id-1")

    def test_a_record_of_another_tenant_is_refused(self) -> None:
        """The prefix is part of the tag."""
        key = b"shared by mistake"
        record = Codec(keys=[key], realm="a:").seal(b"body", "slot")
        with pytest.raises(SignatureError):
            Codec(keys=[key], realm="b:").open(record, "slot")

    def test_keys_rotate(self) -> None:
        """The first key signs, all verify."""
        old, both, new = Codec(keys=["old"]), Codec(keys=["new", "old"]), Codec(keys=["new"])
        assert both.open(old.seal(b"x", "slot"), "slot") == b"x"
        assert new.open(both.seal(b"x", "slot"), "slot") == b"x"
        with pytest.raises(SignatureError):
            new.open(old.seal(b"x", "slot"), "slot")

    def test_signed_and_unsigned_do_not_mix(self) -> None:
        """With a key, no unsigned record is taken; without one, no signed record."""
        signed, plain = Codec(keys=["key"]), Codec()
        with pytest.raises(SignatureError, match="unsigned record"):
            signed.open(plain.seal(b"x", "slot"), "slot")
        with pytest.raises(SignatureError, match="no serialization.signing_key"):
            plain.open(signed.seal(b"x", "slot"), "slot")

    def test_a_signed_slot_comes_back(self) -> None:
        """Signing changes no content."""
        codec = Codec(keys=["key"])
        slot = _slot(EVERYTHING)
        record = serialize_slot(slot, codec)
        assert deserialize_slot(record, codec) == slot
        with pytest.raises(SignatureError):
            deserialize_slot(record[:-1] + b"?", codec)

    def test_a_long_key_is_whole(self) -> None:
        """Keys over BLAKE2b's 64 bytes are hashed, not cut."""
        one, other = Codec(keys=["k" * 64 + "a"]), Codec(keys=["k" * 64 + "b"])
        with pytest.raises(SignatureError):
            other.open(one.seal(b"x", "slot"), "slot")


class TestPickle:
    def test_it_needs_a_signing_key(self) -> None:
        """Whoever can write an unsigned record could run code."""
        with pytest.raises(ValueError, match="signing_key"):
            Codec(format="pickle")

    def test_it_carries_what_messagepack_cannot(self) -> None:
        """The one reason to choose it."""
        codec = Codec(format="pickle", keys=["key"])
        slot = _slot(Inner(2**70))
        assert deserialize_slot(serialize_slot(slot, codec), codec) == slot

    def test_nothing_else_unpickles(self) -> None:
        """A pickle in a MessagePack organism is refused, not run."""
        typed = Codec(format="pickle", keys=["key"]).encode(Inner(1))
        with pytest.raises(CodecError):
            Codec().decode(typed)

    def test_an_unknown_format_is_refused(self) -> None:
        """Only msgpack and pickle exist."""
        with pytest.raises(ValueError, match="msgpack or pickle"):
            Codec(format="json")  # type: ignore[arg-type]


def test_the_main_module_has_one_name() -> None:
    """A spawned child's `__mp_main__` is its parent's `__main__`."""
    child = type("Payload", (), {"__module__": "__mp_main__"})
    assert name_of(child) == "__main__.Payload"
