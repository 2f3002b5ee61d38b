"""Bounds: how much runs, waits and is kept, in which order; and what watchers are told."""

import asyncio
from typing import Any

import pytest

from pipeline import (
    Gathered,
    HandlerError,
    HandlerMetadata,
    HandlerResponse,
    PumpFullError,
    StreamPump,
    get_context_buffer,
    get_registry,
)
from pipeline.events import (
    Event,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    MessageReceived,
    MessageSent,
    ThreadClosed,
    ThreadOpened,
)
from pipeline.organism import Limits, ThreadScheduling
from tests.conformance.pump.base import OpenPump, Ping, Pong, PumpContract, answer, settled


class Gauge:
    """A handler that holds until released, and counts how many run at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.gate = asyncio.Event()

    async def __call__(self, payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.wait()
        self.running -= 1
        return HandlerResponse.respond(Pong(payload.number))


class Bounds(PumpContract):
    async def test_so_many_handlers_run_at_once(self, open_pump: OpenPump) -> None:
        """`max_concurrent_handlers` for all, `max_concurrent_per_agent` for each agent."""
        agent, tool = Gauge(), Gauge()
        limits = Limits(max_concurrent_handlers=5, max_concurrent_per_agent=2)
        pump = await open_pump({"agent": (agent, {"agent": True}), "tool": tool}, limits=limits)
        for number in range(10):
            await pump.inject("agent", Ping(number))
            await pump.inject("tool", Ping(number))
        await settled(lambda: agent.running + tool.running == 5)
        assert agent.running == 2
        agent.gate.set()
        tool.gate.set()
        await pump.join()
        assert agent.most == 2
        assert tool.most <= 5

    async def test_a_full_pump_makes_inject_wait(self, open_pump: OpenPump) -> None:
        """Conversations over `max_threads` wait at the door, in order, and get in."""
        gauge = Gauge()
        pump = await open_pump({"slow": gauge}, max_threads=3)
        tasks = [asyncio.create_task(pump.inject("slow", Ping(n))) for n in range(6)]
        await settled(lambda: gauge.running == 3)
        await asyncio.sleep(0)
        assert [task.done() for task in tasks] == [True] * 3 + [False] * 3
        tasks[3].cancel()
        gauge.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, str) for each in done] == [True] * 3 + [False] + [True] * 2
        await pump.join()

    async def test_max_waiting_bounds_the_queue(self, open_pump: OpenPump) -> None:
        """Messages that wait for a free place are bounded too."""
        gauge = Gauge()
        limits = Limits(max_concurrent_handlers=1, max_waiting=2)
        pump = await open_pump({"slow": gauge}, limits=limits)
        tasks = [asyncio.create_task(pump.inject("slow", Ping(n))) for n in range(6)]
        await settled(lambda: sum(task.done() for task in tasks) == 3)
        gauge.gate.set()
        await asyncio.gather(*tasks)
        await pump.join()

    async def test_a_handler_never_waits_at_the_door(self, open_pump: OpenPump) -> None:
        """Inside a handler `inject` raises where it would wait; with room it sends."""
        outcome: list[str] = []
        pumps: list[StreamPump] = []
        tried = asyncio.Event()

        async def reentrant(payload: Ping, metadata: HandlerMetadata) -> None:
            if payload.number:
                await tried.wait()
                return
            for number in range(1, 3):
                try:
                    await pumps[0].inject("reentrant", Ping(number))
                    outcome.append("sent")
                except PumpFullError as exc:
                    outcome.append(str(exc))
            tried.set()

        pumps.append(await open_pump({"reentrant": reentrant}, max_threads=2))
        await pumps[0].inject("reentrant", Ping())
        await pumps[0].join()
        assert outcome[0] == "sent"
        assert "a handler must not wait" in outcome[1]

    async def test_what_is_inside_always_drains(self, open_pump: OpenPump) -> None:
        """Limits hold at the door only: a scatter wider than every limit completes."""

        async def scatterer(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Gathered):
                return HandlerResponse.respond(Pong(len(payload.results)))
            return HandlerResponse.scatter([Ping(n) for n in range(50)], to="member")

        limits = Limits(max_concurrent_handlers=1, max_waiting=1)
        pump = await open_pump(
            {"scatterer": scatterer, "member": answer}, limits=limits, max_threads=1
        )
        assert await pump.request("scatterer", Ping()) == Pong(50)

    async def test_a_full_thread_is_an_error_to_the_caller(self, open_pump: OpenPump) -> None:
        """`max_slots_per_thread` ends the conversation with an error, not in silence."""

        async def endless(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse(Ping(payload.number + 1), to="endless")

        pump = await open_pump({"endless": endless}, max_slots_per_thread=5)
        with pytest.raises(HandlerError, match="max_slots_per_thread is 5"):
            await pump.request("endless", Ping())
        await pump.join()

    async def test_ended_conversations_are_kept_up_to_a_number(self, open_pump: OpenPump) -> None:
        """The newest `keep_closed` can still be read; older ones are gone, links and all."""

        async def ask(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong):
                return HandlerResponse.respond(payload)
            return HandlerResponse(payload, to="callee")

        pump = await open_pump({"ask": ask, "callee": answer}, keep_closed=2)
        threads = []
        for number in range(5):
            threads.append(await pump.inject("ask", Ping(number)))
            await pump.join()
        kept = [get_context_buffer().thread_exists(thread_id) for thread_id in threads]
        assert kept == [False, False, False, True, True]
        links = get_registry().debug_dump()
        assert [thread_id in links for thread_id in threads] == kept
        assert len(links) == 1 + 2 * 2  # the root, and both threads of each

    async def test_an_open_conversation_does_not_expire(self, open_pump: OpenPump) -> None:
        """Work that runs or waits for longer than the time to live keeps its thread."""
        gauge = Gauge()
        limits = Limits(max_concurrent_handlers=1)
        pump = await open_pump({"slow": gauge}, limits=limits, redis_ttl=0.3)
        running, waiting = [await pump.inject("slow", Ping()) for _ in range(2)]
        await settled(lambda: gauge.running == 1)
        await asyncio.sleep(0.9)
        for thread_id in (running, waiting):
            assert len(get_context_buffer().get_thread(thread_id)) == 1
            assert get_registry().lookup(thread_id) is not None
        gauge.gate.set()
        await pump.join()
        await settled(lambda: not get_context_buffer().thread_exists(running))
        await settled(lambda: not get_context_buffer().thread_exists(waiting))
        assert get_registry().lookup(running) is get_registry().lookup(waiting) is None


class Order(PumpContract):
    @pytest.mark.parametrize(
        ("order", "expected"),
        [
            ("breadth-first", ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]),
            ("depth-first", ["a0", "a1", "a2", "b0", "b1", "b2", "c0", "c1", "c2"]),
        ],
    )
    async def test_deep_conversations(
        self, open_pump: OpenPump, order: ThreadScheduling, expected: list[str]
    ) -> None:
        """Breadth-first advances all side by side; depth-first ends one before the next."""
        seen: list[str] = []

        async def step(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse | None:
            seen.append(f"{payload.text}{payload.number}")
            if payload.number == 2:
                return None
            return HandlerResponse(Ping(payload.number + 1, payload.text), to="step")

        limits = Limits(max_concurrent_handlers=1)
        pump = await open_pump({"step": step}, limits=limits, order=order)
        await asyncio.gather(*(pump.inject("step", Ping(0, text)) for text in "abc"))
        await pump.join()
        assert seen == expected

    @pytest.mark.parametrize(
        ("order", "expected"),
        [
            ("breadth-first", ["A", "B", "a0", "a1", "b0", "b1", "A!", "B!"]),
            ("depth-first", ["A", "a1", "a0", "A!", "B", "b1", "b0", "B!"]),
        ],
    )
    async def test_wide_conversations(
        self, open_pump: OpenPump, order: ThreadScheduling, expected: list[str]
    ) -> None:
        """The same with scatters: the members of one, or of all, come first."""
        seen: list[str] = []

        async def wide(payload: Any, metadata: HandlerMetadata) -> HandlerResponse | None:
            if isinstance(payload, Gathered):
                seen.append(payload.results[0].texts[0].upper() + "!")
                return None
            seen.append(payload.text.upper())
            return HandlerResponse.scatter([Ping(n, payload.text) for n in range(2)], to="leaf")

        async def leaf(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            seen.append(f"{payload.text}{payload.number}")
            return HandlerResponse.respond(Pong(0, [payload.text]))

        limits = Limits(max_concurrent_handlers=1)
        pump = await open_pump({"wide": wide, "leaf": leaf}, limits=limits, order=order)
        await asyncio.gather(*(pump.inject("wide", Ping(0, text)) for text in "ab"))
        await pump.join()
        assert seen == expected


class Watching(PumpContract):
    def arranged(self, kinds: list[type[Event]]) -> list[type[Event]]:
        """As far as their order is promised: all of it, where one process does everything."""
        return kinds

    async def test_subscribers_see_what_happens(self, open_pump: OpenPump) -> None:
        """Typed events, in order; one that raises harms nobody."""

        async def ask(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, Pong):
                return HandlerResponse.respond(payload)
            return HandlerResponse(payload, to="callee")

        pump = await open_pump({"ask": ask, "callee": answer})
        seen: list[Event] = []

        def broken(event: Event) -> None:
            raise RuntimeError("subscriber's own fault")

        pump.subscribe(broken)
        unsubscribe = pump.subscribe(seen.append)
        thread_id = await pump.inject("ask", Ping())
        await pump.join()
        expected: list[type[Event]] = [
            ThreadOpened,
            MessageReceived,
            HandlerStarted,
            HandlerFinished,
            MessageSent,
            HandlerStarted,
            HandlerFinished,
            MessageSent,
            HandlerStarted,
            HandlerFinished,
            MessageSent,
            ThreadClosed,
        ]
        assert self.arranged([type(event) for event in seen]) == self.arranged(expected)
        assert {event.conversation_id for event in seen} == {thread_id}
        unsubscribe()
        await pump.request("ask", Ping())
        assert len(seen) == 12

    async def test_failures_and_retries_are_events(self, open_pump: OpenPump) -> None:
        """Each failed attempt, and whether another follows."""

        async def fail(payload: Ping, metadata: HandlerMetadata) -> None:
            raise ValueError("again")

        pump = await open_pump({"fail": (fail, {"retries": 1, "backoff_s": 0.0})})
        seen: list[Event] = []
        pump.subscribe(seen.append)
        with pytest.raises(HandlerError):
            await pump.request("fail", Ping())
        failed = [event for event in seen if isinstance(event, HandlerFailed)]
        assert [(event.attempt, event.will_retry) for event in failed] == [(1, True), (2, False)]
        assert failed[0].error.message == "ValueError: again"
