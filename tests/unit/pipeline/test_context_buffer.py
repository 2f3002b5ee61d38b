"""What a thread remembers, with and without a shared backend."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from backends import BufferFullError, CodecError, InMemoryBackend, SignatureError
from backends.codec import Codec
from backends.protocol import BackendConfig
from pipeline import BufferSlot, ContextBuffer, get_context_buffer
from pipeline.context_buffer import use_context_buffer


@dataclass
class Note:
    text: str


@dataclass
class Number:
    value: int


@pytest.fixture(params=["alone", "shared", "signed"])
def buffer(request: pytest.FixtureRequest) -> Iterator[ContextBuffer]:
    """One of this process's own, one over a backend, and one that signs."""
    if request.param == "alone":
        yield ContextBuffer()
        return
    backend = InMemoryBackend()
    keys = ["a key for tests"] if request.param == "signed" else []
    yield ContextBuffer(backend, Codec(keys=keys))
    backend.close()


def fill(buffer: ContextBuffer) -> list[BufferSlot]:
    return [
        buffer.append("t", Note("one"), "a", "b"),
        buffer.append("t", Number(2), "b", "a", own_name="a", is_self_call=True),
        buffer.append("t", Note("three"), "a", "b", usage_instructions="use"),
    ]


def test_it_knows_whether_it_is_shared() -> None:
    """`is_shared` tells a buffer over a backend from one of its own."""
    assert ContextBuffer(InMemoryBackend()).is_shared
    assert not ContextBuffer().is_shared


def test_what_is_appended_is_read_again(buffer: ContextBuffer) -> None:
    """Payloads, senders, positions and all metadata."""
    slots = fill(buffer)
    assert [slot.index for slot in slots] == [0, 1, 2]
    assert buffer.get_thread_slots("t") == slots
    assert slots[1].payload == Number(2)
    assert (slots[1].from_id, slots[1].to_id, slots[1].thread_id) == ("b", "a", "t")
    assert slots[1].metadata.own_name == "a"
    assert slots[1].metadata.is_self_call
    assert slots[1].metadata.payload_type == "Number"
    assert slots[2].metadata.usage_instructions == "use"


def test_a_thread_reads_as_a_sequence(buffer: ContextBuffer) -> None:
    """Length, iteration, positions from both ends, slices."""
    slots = fill(buffer)
    thread = buffer.get_thread("t")
    assert len(thread) == 3
    assert list(thread) == slots
    assert thread[0] == slots[0]
    assert thread[-1] == slots[2]
    assert thread[1:] == slots[1:] == thread.get_slice(1)
    assert thread.get_slice(0, 2) == slots[:2]
    assert thread.get_slice() == slots
    with pytest.raises(IndexError):
        thread[3]


def test_slots_are_found_by_type_and_sender(buffer: ContextBuffer) -> None:
    """By the payload class's bare name, and by who sent it."""
    slots = fill(buffer)
    thread = buffer.get_thread("t")
    assert thread.get_by_type("Note") == [slots[0], slots[2]]
    assert thread.get_from("b") == [slots[1]]
    assert thread.get_by_type("Nothing") == []


def test_a_thread_is_a_snapshot(buffer: ContextBuffer) -> None:
    """What comes later is in the next one."""
    fill(buffer)
    before = buffer.get_thread("t")
    buffer.append("t", Note("four"), "a", "b")
    assert len(before) == 3
    assert len(buffer.get_thread("t")) == 4


def test_an_unknown_thread_is_empty(buffer: ContextBuffer) -> None:
    """Neither an error nor None."""
    assert list(buffer.get_thread("nobody")) == []
    assert not buffer.thread_exists("nobody")
    assert not buffer.delete_thread("nobody")


def test_threads_are_deleted_and_cleared(buffer: ContextBuffer) -> None:
    """One, or all; the numbers follow."""
    fill(buffer)
    buffer.append("u", Note("x"), "a", "b")
    stats = buffer.get_stats()
    assert (stats["thread_count"], stats["total_slots"]) == (2, 4)
    assert sorted(stats["threads"]) == ["t", "u"]
    assert buffer.delete_thread("t")
    assert not buffer.thread_exists("t")
    buffer.clear()
    assert buffer.get_stats()["thread_count"] == 0


def test_positions_hold_under_concurrent_writers(buffer: ContextBuffer) -> None:
    """`index` is the position, whoever else appends."""
    with ThreadPoolExecutor(8) as pool:
        slots = list(pool.map(lambda n: buffer.append("t", Number(n), "a", "b"), range(200)))
    thread = buffer.get_thread("t")
    assert sorted(slot.index for slot in slots) == list(range(200))
    assert all(thread[slot.index].payload == slot.payload for slot in slots)


def test_a_payload_that_cannot_travel_is_refused(buffer: ContextBuffer) -> None:
    """Nothing is stored."""
    with pytest.raises(CodecError, match="not a dataclass"):
        buffer.append("t", "plain text", "a", "b")
    assert not buffer.thread_exists("t")


def test_the_backends_limit_holds() -> None:
    """A full thread is a `MemoryError`, and keeps what it has."""
    buffer = ContextBuffer(InMemoryBackend(BackendConfig(max_slots_per_thread=2)))
    with pytest.raises(BufferFullError):
        fill(buffer)
    assert len(buffer.get_thread("t")) == 2


def test_a_slot_forged_in_the_backend_is_refused() -> None:
    """With a signing key, what the pump did not write is not read."""
    backend = InMemoryBackend()
    signed = ContextBuffer(backend, Codec(keys=["a key for tests"]))
    ContextBuffer(backend, Codec()).append("t", Note("forged"), "a", "b")
    with pytest.raises(SignatureError):
        signed.get_thread_slots("t")


def test_a_signed_slot_is_refused_in_another_thread() -> None:
    """A tag is good for one place: what was said elsewhere can't be replayed here."""
    backend = InMemoryBackend()
    signed = ContextBuffer(backend, Codec(keys=["a key for tests"]))
    signed.append("t", Note("pay him"), "a", "b")
    backend.buffer_append("u", backend.buffer_get_thread("t")[0])
    assert signed.get_thread_slots("t")[0].payload == Note("pay him")
    for read in (
        signed.get_thread_slots,
        lambda thread_id: signed.get_thread(thread_id).get_by_type("Note"),
        lambda thread_id: signed.get_thread(thread_id).get_from("a"),
    ):
        with pytest.raises(SignatureError, match="slot of thread 't'"):
            read("u")


def test_the_process_has_one_at_hand() -> None:
    """Outside of any pump, and as set."""
    use_context_buffer(None)
    assert get_context_buffer() is get_context_buffer()
    mine = ContextBuffer()
    use_context_buffer(mine)
    assert get_context_buffer() is mine
    use_context_buffer(None)
