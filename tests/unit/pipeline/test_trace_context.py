"""What a message carries of its trace."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.mailbox import Answer, Envelope
from pipeline.trace_context import MAX_LINKS, MAX_STATE, Carried, Context, gathered, pack, unpack

PARENT = Context(0xABCDEF, 0x1226, 1)
contexts = st.builds(
    Context, st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1), st.integers(0, 255)
)
states = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=MAX_STATE)


@given(contexts, st.lists(contexts, max_size=MAX_LINKS), states)
def test_it_arrives_as_it_was_sent(parent: Context, links: list[Context], state: str) -> None:
    carried = Carried(parent, tuple(links), state)
    assert unpack(pack(carried)) == carried


def test_a_plain_one_is_26_bytes() -> None:
    """What tracing adds to a record."""
    assert len(pack(Carried(PARENT))) == 26


@pytest.mark.parametrize("trace", [None, b"", b"\x00" * 26, b"\xff" * 40, b"\x02" + b"\x00" * 33])
def test_nonsense_is_nothing(trace: bytes | None) -> None:
    """A record that is not signed may hold anything."""
    assert unpack(trace) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(trace: bytes) -> None:
    carried = unpack(trace)
    assert carried is None or len(carried.links) <= MAX_LINKS
    gathered(trace, [trace])


@pytest.mark.parametrize("state", [b"a=1\nERROR forged", b"a=1,\x1b[2J", b"\xff", "é=1".encode()])
def test_what_is_no_header_is_left_out(state: bytes) -> None:
    """Of the state; the trace goes on."""
    assert unpack(pack(Carried(PARENT)) + state) == Carried(PARENT)


def test_too_much_of_vendors_state_is_left_out() -> None:
    carried = Carried(PARENT, state="a=" + "b" * MAX_STATE)
    assert unpack(pack(carried)) == carried._replace(state="")


def test_what_gathers_answers_is_linked_to_them() -> None:
    """Each hop that answered once; sent when all had answered."""
    answers = [pack(Carried(Context(1, span, 1))) for span in (7, 8, 7)]
    trace = gathered(pack(Carried(PARENT, state="v=1")), [*answers, None])
    links = (Context(1, 7, 1), Context(1, 8, 1))
    assert unpack(trace) == Carried(PARENT, links, "v=1")


def test_no_message_grows_with_its_scatter() -> None:
    answers = [pack(Carried(Context(1, span, 1))) for span in range(1, 1000)]
    trace = gathered(pack(Carried(PARENT)), answers)
    assert trace is not None
    assert len(trace) == 26 + 25 * MAX_LINKS


def test_without_a_trace_nothing_begins() -> None:
    assert gathered(None, [pack(Carried(PARENT))]) is None


def test_records_of_before_and_after_are_read() -> None:
    """While pumps of two versions run, either reads what the other writes."""
    envelope = Envelope("m", "c", "s", "chain", "t", "to", "from", b"payload")
    encoded = msgspec.msgpack.encode(envelope)
    old = msgspec.msgpack.encode(msgspec.msgpack.decode(encoded)[:-1])
    assert msgspec.msgpack.decode(old, type=Envelope) == envelope
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([False, b"1"]), type=Answer) == Answer(
        False, b"1"
    )
    newer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encoded), b"more"])
    assert msgspec.msgpack.decode(newer, type=Envelope) == envelope
