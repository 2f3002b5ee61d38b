"""What every mailbox must do; one suite for all of them."""

import asyncio
import itertools
from collections.abc import Awaitable
from typing import Protocol

import pytest
from msgspec import structs

from backends.errors import BufferFullError
from backends.mailbox import (
    Answer,
    Effects,
    Envelope,
    Gathering,
    Mailbox,
    Opened,
    Opening,
    Scatter,
    Settlement,
    Work,
)
from backends.protocol import Backend, SlotRecord

MAX_SLOTS = 3
YES, NO = Answer(False, b"yes"), Answer(True, b"no")


class OpenMailbox(Protocol):
    """Starts a mailbox over the test's own data; the fixture stops it."""

    def __call__(self, *, keep_closed: int = 100) -> Awaitable[Mailbox]: ...


def envelope(
    message: str, conversation: str = "c", *, scope: str = "", payload: bytes = b""
) -> Envelope:
    chain = f"@{conversation}.external.to"
    return Envelope(
        message,
        conversation,
        scope or f"s-{conversation}",
        chain,
        conversation,
        "to",
        "me",
        payload,
    )


def slot(conversation: str = "c", data: bytes = b"slot") -> SlotRecord:
    return SlotRecord(conversation, f"@{conversation}.external.to", data)


def opening(conversation: str = "c", *, message_id: str | None = None) -> Opening:
    return Opening([envelope(f"m-{conversation}", conversation)], [slot(conversation)], message_id)


class MailboxContract:
    """Subclasses supply `open_mailbox`, and the `backend` where its slots are read again."""

    @pytest.fixture
    async def mailbox(self, open_mailbox: OpenMailbox) -> Mailbox:
        return await open_mailbox()

    async def take(self, mailbox: Mailbox, count: int = 1) -> list[Work]:
        """So many pieces of work, however they come."""
        found: list[Work] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                found += await mailbox.take(count - len(found))
        return found

    async def take_envelope(self, mailbox: Mailbox) -> Envelope:
        (work,) = await self.take(mailbox)
        assert isinstance(work, Envelope), work
        return work

    async def end(self, mailbox: Mailbox, *answers: Answer) -> Effects:
        """Take one message and settle it with nothing to send."""
        work = await self.take_envelope(mailbox)
        return await mailbox.settle(Settlement(work, [], [], [], list(answers)))

    async def test_what_is_opened_is_taken(self, mailbox: Mailbox, backend: Backend) -> None:
        """Once, oldest first, whole; its slot stands in the thread by then."""
        opened = await mailbox.open(opening("a"))
        assert opened == Opened("a", "s-a", is_new=True)
        await mailbox.open(opening("b"))
        assert backend.buffer_get_thread("a") == [b"slot"]
        assert backend.registry_get_chain("a") == "@a.external.to"
        assert await self.take(mailbox, 2) == [envelope("m-a", "a"), envelope("m-b", "b")]
        assert (mailbox.waiting, mailbox.open_conversations) == (0, 2)
        assert mailbox.take_ready(5) == []

    async def test_who_takes_waits(self, mailbox: Mailbox) -> None:
        """Until there is something; never more than asked for."""
        taking = asyncio.create_task(mailbox.take(1))
        await asyncio.sleep(0.05)
        assert not taking.done()
        for name in "abc":
            await mailbox.open(opening(name))
        async with asyncio.timeout(10):
            assert await taking == [envelope("m-a", "a")]
        assert await self.take(mailbox, 2) == [envelope("m-b", "b"), envelope("m-c", "c")]

    async def test_a_message_id_opens_once(self, mailbox: Mailbox, backend: Backend) -> None:
        """Who sends it again joins the first one's scope, open or closed, and gets its answer."""
        await mailbox.open(opening("a", message_id="id"))
        again = Opening([envelope("m-x", "x", scope="s-a")], [slot("x")], "id")
        second = await mailbox.open(again)
        assert (second.conversation, second.scope) == ("a", "s-a")
        assert (second.is_duplicate, second.is_new, second.is_closed) == (True, False, False)
        await self.end(mailbox, YES)
        third = await mailbox.open(again)
        assert (third.is_duplicate, third.is_closed, third.answer) == (True, True, YES)
        assert backend.buffer_get_thread("x") == []
        await mailbox.open(opening("b"))
        assert await self.take_envelope(mailbox) == envelope("m-b", "b")

    async def test_a_hop_is_one_step(self, mailbox: Mailbox, backend: Backend) -> None:
        """Its slots, what it sends and its end, together."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        sends = [envelope("m-1", payload=b"1"), envelope("m-2", payload=b"2")]
        effects = await mailbox.settle(
            Settlement(work, [slot(data=b"more"), slot(data=b"most")], sends, [], [])
        )
        assert effects == Effects([], [], [])
        assert backend.buffer_get_thread("c") == [b"slot", b"more", b"most"]
        assert await self.take(mailbox, 2) == sends
        assert mailbox.open_conversations == 1

    async def test_an_end_is_counted(self, mailbox: Mailbox) -> None:
        """With the last of its messages, whoever sent them and in whatever order they end."""
        await mailbox.open(opening())
        first = await self.take_envelope(mailbox)
        sends = [envelope("m-1"), envelope("m-2")]
        await mailbox.settle(Settlement(first, [], sends, [], []))
        one, two = await self.take(mailbox, 2)
        assert isinstance(one, Envelope)
        assert isinstance(two, Envelope)
        assert await mailbox.settle(Settlement(two, [], [], [], [])) == Effects([], [], [])
        effects = await mailbox.settle(Settlement(one, [], [], [], []))
        assert (effects.closed_scopes, effects.closed_conversations) == (["s-c"], ["c"])
        assert effects.answered == []
        assert (mailbox.waiting, mailbox.open_conversations) == (0, 0)

    async def test_the_first_answer_counts(self, mailbox: Mailbox) -> None:
        """Later ones are dropped, and that is told."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        effects = await mailbox.settle(Settlement(work, [], [envelope("m-1")], [], [NO, YES]))
        assert effects.answered == [("s-c", NO)]
        assert effects.dropped_answers == 1
        effects = await self.end(mailbox, YES)
        assert (effects.answered, effects.dropped_answers) == ([], 1)
        assert effects.closed_scopes == ["s-c"]

    async def test_a_conversation_may_go_on(self, mailbox: Mailbox, backend: Backend) -> None:
        """Opened again while it runs or after it ended, with a scope of its own each time."""
        await mailbox.open(opening())
        more = Opening([envelope("m-2", scope="s-2")], [slot()])
        assert not (await mailbox.open(more)).is_new
        effects = await self.end(mailbox, YES)
        assert (effects.closed_scopes, effects.closed_conversations) == (["s-c"], [])
        effects = await self.end(mailbox)
        assert (effects.closed_scopes, effects.closed_conversations) == (["s-2"], ["c"])
        last = Opening([envelope("m-3", scope="s-3")], [slot()])
        assert (await mailbox.open(last)).is_new
        assert mailbox.open_conversations == 1
        assert (await self.end(mailbox)).closed_conversations == ["c"]
        assert len(backend.buffer_get_thread("c")) == 3

    def scatter(self, *, members: int, scope: str = "s-c", name: str = "g") -> Scatter:
        return Scatter(
            envelope(name, scope=scope),
            [envelope(f"{name}-{n}", scope=f"{name}.{n}") for n in range(members)],
        )

    async def test_a_scatter_is_gathered_in_order(self, mailbox: Mailbox) -> None:
        """However its members end: answered, failed, silent, answered twice."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        scatter = self.scatter(members=4)
        await mailbox.settle(Settlement(work, [], [], [scatter], []))
        members = await self.take(mailbox, 4)
        assert members == scatter.members
        answers: list[list[Answer]] = [[YES], [NO], [], [YES, NO]]
        for member, given in reversed(list(zip(members, answers, strict=True))):
            assert isinstance(member, Envelope)
            effects = await mailbox.settle(Settlement(member, [], [], [], given))
            assert effects.dropped_answers == max(len(given) - 1, 0)
            assert effects.closed_conversations == []
        assert await self.take(mailbox) == [Gathering(scatter.reply_to, [YES, NO, None, YES])]

    async def test_a_gathering_is_settled_like_a_message(
        self, mailbox: Mailbox, backend: Backend
    ) -> None:
        """Slots, answers and the end of its conversation included."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        await mailbox.settle(Settlement(work, [], [], [self.scatter(members=1)], []))
        await self.end(mailbox, YES)
        (gathering,) = await self.take(mailbox)
        assert isinstance(gathering, Gathering)
        effects = await mailbox.settle(Settlement(gathering, [slot(data=b"all")], [], [], [NO]))
        assert effects.answered == [("s-c", NO)]
        assert effects.closed_conversations == ["c"]
        assert backend.buffer_get_thread("c") == [b"slot", b"all"]

    async def test_scatters_nest(self, mailbox: Mailbox) -> None:
        """A member that scatters itself ends when its own members have."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        await mailbox.settle(Settlement(work, [], [], [self.scatter(members=1)], []))
        member = await self.take_envelope(mailbox)
        inner = self.scatter(members=2, scope="g.0", name="h")
        await mailbox.settle(Settlement(member, [], [], [inner], []))
        for _ in range(2):
            await self.end(mailbox, YES)
        (gathering,) = await self.take(mailbox)
        assert gathering == Gathering(inner.reply_to, [YES, YES])
        assert isinstance(gathering, Gathering)
        await mailbox.settle(Settlement(gathering, [], [], [], [NO]))
        (outer,) = await self.take(mailbox)
        assert isinstance(outer, Gathering)
        assert outer.answers == [NO]
        effects = await mailbox.settle(Settlement(outer, [], [], [], []))
        assert effects.closed_conversations == ["c"]

    async def test_an_empty_scatter_is_gathered_at_once(self, mailbox: Mailbox) -> None:
        """There is nobody to wait for."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        scatter = self.scatter(members=0)
        await mailbox.settle(Settlement(work, [], [], [scatter], []))
        (gathering,) = await self.take(mailbox)
        assert gathering == Gathering(scatter.reply_to, [])
        assert isinstance(gathering, Gathering)
        effects = await mailbox.settle(Settlement(gathering, [], [], [], []))
        assert effects.closed_conversations == ["c"]

    async def test_a_deferred_message_comes_back(self, mailbox: Mailbox) -> None:
        """Later, as it was put back; it waits all the while."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        again = structs.replace(work, attempt=2)
        await mailbox.defer(again, 0.2)
        assert mailbox.open_conversations == 1
        started = asyncio.get_running_loop().time()
        assert await self.take_envelope(mailbox) == again
        assert asyncio.get_running_loop().time() - started > 0.1
        effects = await mailbox.settle(Settlement(again, [], [], [], []))
        assert effects.closed_conversations == ["c"]

    async def test_what_has_no_room_does_not_enter(
        self, mailbox: Mailbox, backend: Backend
    ) -> None:
        """Neither message, slot nor conversation."""
        for _ in range(MAX_SLOTS):
            backend.buffer_append("c", b"x")
        with pytest.raises(BufferFullError, match="'c'"):
            await mailbox.open(Opening([envelope("m")], [slot("d"), slot()]))
        assert backend.buffer_get_thread("d") == []
        assert mailbox.open_conversations == 0
        await mailbox.open(opening("b"))
        assert await self.take_envelope(mailbox) == envelope("m-b", "b")

    async def test_a_hop_that_has_no_room_does_not_happen(
        self, mailbox: Mailbox, backend: Backend
    ) -> None:
        """Nothing of it; the message is still held, and can be settled otherwise."""
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        slots = [slot("d"), *itertools.repeat(slot(), MAX_SLOTS)]
        everything = Settlement(work, slots, [envelope("m-1")], [self.scatter(members=2)], [YES])
        with pytest.raises(BufferFullError, match="'c'"):
            await mailbox.settle(everything)
        assert backend.buffer_get_thread("c") == [b"slot"]
        assert backend.buffer_get_thread("d") == []
        effects = await mailbox.settle(Settlement(work, [], [], [], [NO]))
        assert effects.answered == [("s-c", NO)]
        assert effects.closed_conversations == ["c"]
        await mailbox.open(opening("b"))
        assert await self.take_envelope(mailbox) == envelope("m-b", "b")

    async def test_ended_conversations_are_kept_up_to_a_number(
        self, open_mailbox: OpenMailbox, backend: Backend
    ) -> None:
        """The oldest go at once: threads, links and message ids."""
        mailbox = await open_mailbox(keep_closed=2)
        for name in "abc":
            await mailbox.open(opening(name, message_id=f"id-{name}"))
            await self.end(mailbox)
        assert sorted(backend.buffer_list_threads()) == ["b", "c"]
        assert sorted(backend.registry_list_all()) == ["b", "c"]
        assert not (await mailbox.open(opening("a", message_id="id-a"))).is_duplicate
        known = Opening([envelope("m-c", "c")], [], "id-c")
        assert (await mailbox.open(known)).is_duplicate

    async def test_those_that_ended_within_a_moment_go_in_their_order(
        self, open_mailbox: OpenMailbox, backend: Backend
    ) -> None:
        mailbox = await open_mailbox(keep_closed=2)
        names = [f"c{number:02}" for number in reversed(range(40))]
        for name in names:
            await mailbox.open(opening(name))
            await self.end(mailbox)
        assert sorted(backend.buffer_list_threads()) == sorted(names[-2:])

    async def test_many_hops_leave_nothing_waiting(self, mailbox: Mailbox) -> None:
        """A hundred conversations of three hops each, all at once."""
        for number in range(100):
            await mailbox.open(opening(f"c{number}"))
        ended: list[str] = []

        async def hop(work: Work) -> None:
            assert isinstance(work, Envelope)
            depth = work.payload + b"."
            sends = (
                []
                if len(depth) > 2
                else [envelope(f"{work.id}.", work.conversation, payload=depth)]
            )
            effects = await mailbox.settle(Settlement(work, [], sends, [], []))
            ended.extend(effects.closed_conversations)

        async with asyncio.timeout(30):
            while len(ended) < 100:
                works = await mailbox.take(20)
                await asyncio.gather(*map(hop, works))
        assert sorted(ended) == sorted(f"c{number}" for number in range(100))
        assert (mailbox.waiting, mailbox.open_conversations) == (0, 0)
