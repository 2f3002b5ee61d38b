"""The mailbox of one process: nothing is lost, kept or forgotten by accident."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends import BackendConfig, BufferFullError, InMemoryBackend
from backends.mailbox import Answer, Envelope, Opening, Settlement
from backends.memory_mailbox import MemoryMailbox
from backends.protocol import SlotRecord


@pytest.fixture
def backend() -> InMemoryBackend:
    return InMemoryBackend(BackendConfig(max_slots_per_thread=2))


@pytest.fixture(params=[False, True], ids=["inline", "offloaded"])
async def mailbox(
    request: pytest.FixtureRequest, backend: InMemoryBackend
) -> AsyncIterator[MemoryMailbox]:
    mailbox = MemoryMailbox(backend, ttl_s=0, keep_closed=1, offload=request.param)
    await mailbox.start()
    yield mailbox
    await mailbox.stop()


def opening(conversation: str, message_id: str | None = None) -> Opening:
    envelope = Envelope(
        f"m-{conversation}", conversation, f"s-{conversation}", "", conversation, "to", "from", b""
    )
    slot = SlotRecord(conversation, f"chain.{conversation}", b"slot")
    return Opening([envelope], [slot], message_id)


async def end(mailbox: MemoryMailbox, *answers: Answer) -> None:
    """Take one message and settle it with nothing more to do."""
    (work,) = await mailbox.take(1)
    assert isinstance(work, Envelope)
    await mailbox.settle(Settlement(work, [], [], [], list(answers)))


async def test_who_takes_waits_until_there_is_something(mailbox: MemoryMailbox) -> None:
    """Oldest first, at most as many as asked for."""
    taking = asyncio.create_task(mailbox.take(1))
    await asyncio.sleep(0)
    assert not taking.done()
    assert mailbox.take_ready(5) == []
    openings = [opening(name) for name in "abc"]
    for each in openings:
        await mailbox.open(each)
    assert await taking == openings[0].envelopes
    assert mailbox.waiting == 2
    assert await mailbox.take(5) == [each.envelopes[0] for each in openings[1:]]
    assert (mailbox.waiting, mailbox.open_conversations) == (0, 3)


async def test_what_has_no_room_does_not_enter(
    mailbox: MemoryMailbox, backend: InMemoryBackend
) -> None:
    """Neither as a message nor as an open conversation; nor does a hop half happen."""
    for _ in range(2):
        backend.buffer_append("a", b"x")
    with pytest.raises(BufferFullError):
        await mailbox.open(opening("a"))
    assert (mailbox.waiting, mailbox.open_conversations) == (0, 0)
    await mailbox.open(opening("b"))
    (work,) = await mailbox.take(1)
    assert isinstance(work, Envelope)
    full = SlotRecord("a", "chain.a", b"y")
    with pytest.raises(BufferFullError):
        await mailbox.settle(Settlement(work, [full], list(opening("c").envelopes), [], []))
    assert (mailbox.waiting, mailbox.open_conversations) == (0, 1)


async def test_ended_conversations_are_deleted_beyond_the_number_kept(
    mailbox: MemoryMailbox, backend: InMemoryBackend
) -> None:
    """One that goes on is not among the ended."""
    for name in "ab":
        await mailbox.open(opening(name))
        await end(mailbox)
    assert backend.buffer_list_threads() == ["b"]
    await mailbox.open(opening("b"))
    await mailbox.open(opening("c"))
    (first,) = await mailbox.take(1)
    assert isinstance(first, Envelope)
    await end(mailbox)
    assert sorted(backend.buffer_list_threads()) == ["b", "c"]
    await mailbox.settle(Settlement(first, [], [], [], []))
    assert backend.buffer_list_threads() == ["b"]
    assert backend.registry_list_all() == {"b": "chain.b"}


async def test_a_message_id_is_known_as_long_as_its_conversation(mailbox: MemoryMailbox) -> None:
    """Then it is free again."""
    answer = Answer(False, b"1")
    first = await mailbox.open(opening("a", "id"))
    assert not first.is_duplicate
    again = await mailbox.open(opening("x", "id"))
    assert (again.conversation, again.is_duplicate, again.is_closed) == ("a", True, False)
    await end(mailbox, answer)
    ended = await mailbox.open(opening("x", "id"))
    assert (ended.is_duplicate, ended.is_closed, ended.answer) == (True, True, answer)
    await mailbox.open(opening("b"))
    await end(mailbox)
    assert not (await mailbox.open(opening("x", "id"))).is_duplicate


async def test_a_deferred_message_comes_back(mailbox: MemoryMailbox) -> None:
    """It waits all the while; what waits when the mailbox stops is counted."""
    await mailbox.open(opening("a"))
    (work,) = await mailbox.take(1)
    assert isinstance(work, Envelope)
    assert isinstance(work, Envelope)
    await mailbox.defer(work, 0.01)
    assert mailbox.waiting == 1
    assert mailbox.take_ready(1) == []
    assert await mailbox.take(1) == [work]
    await mailbox.defer(work, 3600)
    await mailbox.open(opening("b"))
    assert await mailbox.stop() == 2
