"""How messages travel: calls, answers, threads."""

import asyncio
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import pytest

from pipeline import (
    HandlerMetadata,
    HandlerResponse,
    PipelineError,
    get_context_buffer,
    get_registry,
)
from pipeline.events import MessageSent
from tests.conformance.pump.base import (
    OpenPump,
    Ping,
    Pong,
    PumpContract,
    answer,
    forward,
    silent,
)


class Conversations(PumpContract):
    async def test_a_request_gets_its_answer(self, open_pump: OpenPump) -> None:
        """Into the organism, along a call chain, back, and out again."""
        pump = await open_pump({"caller": forward, "callee": answer})
        assert await pump.request("caller", Ping(1)) == Pong(3, ["callee"])

    async def test_plain_functions_run_beside_the_loop(self, open_pump: OpenPump) -> None:
        """A `def` that is not cpu_bound runs in a thread, with its pump's buffer at hand."""
        seen: list[int] = []

        def count(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            seen.append(len(get_context_buffer().get_thread(metadata.thread_id)))
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            return HandlerResponse.respond(Pong(len(seen)))

        pump = await open_pump({"count": count})
        assert await pump.request("count", Ping()) == Pong(1)
        assert seen == [1]

    async def test_a_thread_remembers_every_message(self, open_pump: OpenPump) -> None:
        """In order, with sender and receiver; the handler reads the same."""
        read: list[list[str]] = []

        async def caller(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            thread = get_context_buffer().get_thread(metadata.thread_id)
            read.append([type(slot.payload).__name__ for slot in thread])
            return await forward(payload, metadata)

        pump = await open_pump({"caller": caller, "callee": answer})
        thread_id = await pump.inject("caller", Ping(1))
        await pump.join()
        slots = get_context_buffer().get_thread_slots(thread_id)
        assert [(slot.from_id, slot.to_id, slot.index) for slot in slots] == [
            ("external", "caller", 0),
            ("callee", "caller", 1),
            ("caller", "external", 2),
        ]
        assert slots[2].payload == Pong(3, ["callee"])
        assert read == [["Ping"], ["Ping", "Pong"]]

    async def test_two_conversations_never_share_a_thread(self, open_pump: OpenPump) -> None:
        """The same path, walked at once: threads, buffers and answers stay apart."""
        threads: dict[int, str] = {}

        async def callee(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            threads[payload.number] = metadata.thread_id
            await asyncio.sleep(0.01)
            thread = get_context_buffer().get_thread(metadata.thread_id)
            assert [slot.payload.number for slot in thread] == [payload.number]
            return HandlerResponse.respond(Pong(payload.number))

        pump = await open_pump({"caller": forward, "callee": callee})
        answers = await asyncio.gather(
            *(pump.request("caller", Ping(number * 10)) for number in range(20))
        )
        assert [each.number for each in answers] == [number * 10 + 2 for number in range(20)]
        assert len(set(threads.values())) == 20

    async def test_a_second_call_on_the_same_path_shares_the_thread(
        self, open_pump: OpenPump
    ) -> None:
        """Within one conversation the callee remembers what it was asked before."""

        async def twice(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong) and payload.number == 2:
                return HandlerResponse.respond(payload)
            return HandlerResponse(Ping(), to="counter")

        async def counter(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            thread = get_context_buffer().get_thread(metadata.thread_id)
            return HandlerResponse.respond(Pong(len(thread)))

        pump = await open_pump({"twice": twice, "counter": counter})
        assert await pump.request("twice", Ping()) == Pong(2)

    async def test_names_with_dots_route(self, open_pump: OpenPump) -> None:
        """`calculator.add` is one hop, not two."""

        async def ask(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong):
                return HandlerResponse.respond(payload)
            return HandlerResponse(payload, to="calculator.add")

        pump = await open_pump({"ask.it": ask, "calculator": silent, "calculator.add": answer})
        assert await pump.request("ask.it", Ping(7)) == Pong(7)

    async def test_fan_out_sends_every_reply(self, open_pump: OpenPump) -> None:
        """A list of replies is several messages; each is handled."""
        seen: list[tuple[str, int]] = []

        async def split(payload: Ping, metadata: HandlerMetadata) -> list[HandlerResponse]:
            return [
                HandlerResponse(Ping(1), to="left"),
                HandlerResponse(Ping(2), to="right"),
                HandlerResponse.respond(Pong(3)),
            ]

        async def note(payload: Ping, metadata: HandlerMetadata) -> None:
            seen.append((metadata.from_id, payload.number))

        pump = await open_pump({"split": split, "left": note, "right": note})
        assert await pump.request("split", Ping()) == Pong(3)
        await pump.join()
        assert sorted(seen) == [("split", 1), ("split", 2)]

    async def test_listeners_that_share_a_name_all_get_the_message(
        self, open_pump: OpenPump
    ) -> None:
        """A broadcast name reaches each, from outside and from a handler, on threads apart."""
        seen: list[tuple[str, str]] = []

        heard: list[Any] = []

        async def tell(payload: Any, metadata: HandlerMetadata) -> HandlerResponse | None:
            if isinstance(payload, Ping):
                return HandlerResponse(payload, to="log")
            heard.append(payload)
            return None

        pump = await open_pump({"tell": tell})
        for which in ("a", "b", "c"):

            async def note(
                payload: Ping, metadata: HandlerMetadata, which: str = which
            ) -> HandlerResponse:
                thread = get_context_buffer().get_thread(metadata.thread_id)
                assert len(thread) == 1
                seen.append((which, metadata.thread_id))
                return HandlerResponse.respond(Pong(1))

            pump.register("log", note, Ping, broadcast=True)
        await pump.inject("log", Ping())
        await pump.join()
        assert sorted(which for which, _ in seen) == ["a", "b", "c"]
        await pump.inject("tell", Ping())
        await pump.join()
        assert sorted(which for which, _ in seen) == ["a", "a", "b", "b", "c", "c"]
        assert len({thread_id for _, thread_id in seen}) == 6
        assert heard == [Pong(1)] * 3

    async def test_what_those_that_share_a_name_send_is_apart(self, open_pump: OpenPump) -> None:
        """From each of them several messages, none of which is taken for another."""
        seen: list[int] = []

        async def tell(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse(payload, to="log")

        async def note(payload: Ping, metadata: HandlerMetadata) -> None:
            seen.append(payload.number)

        pump = await open_pump({"tell": tell, "note": note})
        for which in range(3):

            async def spread(
                payload: Ping, metadata: HandlerMetadata, which: int = which
            ) -> list[HandlerResponse]:
                return [HandlerResponse(Ping(10 * which + n), to="note") for n in range(4)]

            pump.register("log", spread, Ping, broadcast=True)
        for entrance in ("tell", "log"):
            seen.clear()
            await pump.inject(entrance, Ping())
            async with asyncio.timeout(10):
                await pump.join()
            assert sorted(seen) == [10 * which + n for which in range(3) for n in range(4)]

    async def test_a_listener_that_sends_to_itself_iterates(self, open_pump: OpenPump) -> None:
        """It stays on its thread, knows that it called itself, and answers its first caller."""
        calls: list[tuple[bool, str]] = []

        async def count_down(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            calls.append((metadata.is_self_call, metadata.thread_id))
            if payload.number:
                return HandlerResponse(Ping(payload.number - 1), to="count_down")
            return HandlerResponse.respond(Pong(len(calls)))

        pump = await open_pump({"count_down": count_down})
        assert await pump.request("count_down", Ping(3)) == Pong(4)
        assert [is_self for is_self, _ in calls] == [False, True, True, True]
        assert len({thread_id for _, thread_id in calls}) == 1

    async def test_a_conversation_goes_on_under_its_thread_id(self, open_pump: OpenPump) -> None:
        """A later message with the same thread id finds what was said before."""

        async def remember(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            thread = get_context_buffer().get_thread(metadata.thread_id)
            return HandlerResponse.respond(Pong(len(thread), [metadata.thread_id]))

        pump = await open_pump({"remember": remember, "other": answer})
        thread_id = await pump.inject("remember", Ping(), thread_id="chat.7@home")
        assert thread_id == "chat.7@home"
        await pump.join()
        told = await pump.request("remember", Ping(), thread_id=thread_id)
        assert told == Pong(3, [thread_id])
        with pytest.raises(PipelineError, match="is a conversation with 'remember'"):
            await pump.inject("other", Ping(), thread_id=thread_id)

    async def test_handlers_see_ids_and_no_chain(self, open_pump: OpenPump) -> None:
        """What stands in the metadata tells nobody how the organism is built."""
        seen: list[HandlerMetadata] = []

        async def callee(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            seen.append(metadata)
            return await answer(payload, metadata)

        pump = await open_pump({"caller": forward, "callee": callee})
        thread_id = await pump.inject("caller", Ping())
        await pump.join()
        (metadata,) = seen
        assert str(UUID(metadata.thread_id)) == metadata.thread_id != thread_id
        assert str(UUID(thread_id)) == thread_id

    async def test_handlers_do_not_inherit_each_others_context(self, open_pump: OpenPump) -> None:
        """A context variable that one sets is not there in the next, nor in what it calls."""
        mark: ContextVar[str] = ContextVar("mark", default="")
        seen: list[str] = []

        async def marker(payload: Ping, metadata: HandlerMetadata) -> list[HandlerResponse]:
            seen.append(mark.get())
            mark.set("left behind")
            return [HandlerResponse(Ping(n), to="reader") for n in range(5)]

        async def reader(payload: Ping, metadata: HandlerMetadata) -> None:
            seen.append(mark.get())

        pump = await open_pump({"marker": marker, "reader": reader})
        for _ in range(3):
            await pump.inject("marker", Ping())
        await pump.join()
        assert seen == [""] * 18

    async def test_who_asks_is_outside_whatever_its_name(self, open_pump: OpenPump) -> None:
        """`from_id` is what handlers see; a listener of that name does not get the answer."""

        async def console(payload: Any, metadata: HandlerMetadata) -> None:
            raise AssertionError("not asked")

        async def callee(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(Pong(4, [metadata.from_id]))

        pump = await open_pump({"console": console, "callee": callee})
        sent: list[MessageSent] = []
        pump.subscribe(lambda event: sent.append(event) if isinstance(event, MessageSent) else None)
        thread_id = await pump.inject("callee", Ping(4), from_id="console")
        await pump.join()
        last = get_context_buffer().get_thread(thread_id)[-1]
        assert (last.payload, last.to_id) == (Pong(4, ["console"]), "console")
        assert [(event.from_id, event.to) for event in sent] == [("callee", "console")]

    async def test_the_registry_knows_the_way(self, open_pump: OpenPump) -> None:
        """Handlers see ids; whoever asks the registry sees the chain behind one."""
        pump = await open_pump({"callee": answer})
        thread_id = await pump.inject("callee", Ping())
        await pump.join()
        chain = get_registry().lookup(thread_id)
        assert chain == f"system.test.@{thread_id}.external.callee"
        assert get_registry().prune_for_response(thread_id)[0] == "external"
