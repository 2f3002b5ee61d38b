"""Whom a failure reaches, and as what."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline import (
    ErrorMessage,
    HandlerError,
    HandlerMetadata,
    HandlerResponse,
    NoAnswerError,
)
from pipeline.events import DeadLettered
from pipeline.organism import Limits
from tests.conformance.pump.base import (
    Handler,
    OpenPump,
    Other,
    Ping,
    Pong,
    PumpContract,
    answer,
    forward,
    silent,
)


async def fail(payload: Ping, metadata: HandlerMetadata) -> None:
    raise ValueError(f"no {payload.number}")


async def cancel_own_task(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
    """And answer as if nothing had been."""
    _own_task().cancel()
    return HandlerResponse.respond(Pong())


async def cancel_own_task_and_wait(payload: Ping, metadata: HandlerMetadata) -> None:
    _own_task().cancel()
    await asyncio.Event().wait()


async def cancel_own_task_and_catch(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
    _own_task().cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return HandlerResponse.respond(Pong())


async def cancel_own_task_later(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
    """When the handler has returned."""
    asyncio.get_running_loop().call_soon(_own_task().cancel)
    return HandlerResponse.respond(Pong())


def _own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def close_generator(payload: Ping, metadata: HandlerMetadata) -> None:
    raise GeneratorExit


def close_generator_in_a_thread(payload: Ping, metadata: HandlerMetadata) -> None:
    raise GeneratorExit


def stop_iteration(payload: Ping, metadata: HandlerMetadata) -> None:
    next(iter(()))


@dataclass
class Picky(Ping):
    """Refuses to be built with a number below zero."""

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below zero")


class Errors(PumpContract):
    async def test_a_failure_reaches_the_requester(self, open_pump: OpenPump) -> None:
        """Its text is the remote one; where and how often it failed stand beside it."""
        pump = await open_pump({"callee": fail})
        with pytest.raises(HandlerError, match="^ValueError: no 3$") as caught:
            await pump.request("callee", Ping(3))
        assert caught.value.listener == "callee"
        assert caught.value.code == "raised"
        assert caught.value.attempt == 1
        assert "ValueError: no 3" in caught.value.traceback

    async def test_a_failure_that_no_utf8_can_tell(self, open_pump: OpenPump) -> None:
        """A file's name in an error may hold half a character: it arrives escaped."""

        async def miss(payload: Ping, metadata: HandlerMetadata) -> None:
            raise OSError("no caf\udce9 here")

        pump = await open_pump({"callee": miss})
        with pytest.raises(HandlerError, match=r"^OSError: no caf\\udce9 here$"):
            await pump.request("callee", Ping(), timeout_s=20)

    @pytest.mark.parametrize(
        ("handler", "text"),
        [
            (cancel_own_task, "CancelledError"),
            (cancel_own_task_and_wait, "CancelledError"),
            (close_generator, "GeneratorExit"),
            (close_generator_in_a_thread, "GeneratorExit"),
            (stop_iteration, "StopIteration"),
        ],
    )
    @pytest.mark.parametrize("timeout_s", [None, 60.0])
    async def test_what_would_end_a_task_is_told_too(
        self, open_pump: OpenPump, handler: Handler, text: str, timeout_s: float | None
    ) -> None:
        """No caller waits for ever, and whoever takes the handler's place runs as ever."""
        pump = await open_pump(
            {"callee": (handler, {"timeout_s": timeout_s}), "next": answer},
            limits=Limits(max_concurrent_handlers=1),
        )
        told = asyncio.create_task(pump.request("callee", Ping(), timeout_s=10))
        others = [asyncio.create_task(pump.request("next", Ping(n))) for n in range(5)]
        with pytest.raises(HandlerError, match=text) as caught:
            await told
        assert caught.value.code == "raised"
        async with asyncio.timeout(10):
            assert await asyncio.gather(*others) == [Pong(n) for n in range(5)]
            await pump.join()

    @pytest.mark.parametrize("handler", [cancel_own_task_and_catch, cancel_own_task_later])
    async def test_an_answer_outlives_a_cancellation_that_its_handler_did_not_see(
        self, open_pump: OpenPump, handler: Handler
    ) -> None:
        """Caught, or too late: what it returned counts."""
        pump = await open_pump({"callee": handler}, limits=Limits(max_concurrent_handlers=1))
        for _ in range(5):
            assert await pump.request("callee", Ping(), timeout_s=10) == Pong()
        async with asyncio.timeout(10):
            await pump.join()

    async def test_it_passes_callers_that_take_no_errors(self, open_pump: OpenPump) -> None:
        """A chain of plain handlers does not have to relay it."""
        pump = await open_pump({"caller": forward, "callee": fail})
        with pytest.raises(HandlerError, match="no 2"):
            await pump.request("caller", Ping(1))

    async def test_a_caller_that_takes_errors_gets_it(self, open_pump: OpenPump) -> None:
        """As an `ErrorMessage`, on the thread from which it called."""

        async def careful(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
            if isinstance(payload, ErrorMessage):
                return HandlerResponse.respond(Pong(0, [payload.message, metadata.from_id]))
            return HandlerResponse(payload, to="between")

        async def between(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse(payload, to="callee")

        pump = await open_pump(
            {"careful": (careful, {"accepts_errors": True}), "between": between, "callee": fail}
        )
        assert await pump.request("careful", Ping(1)) == Pong(0, ["ValueError: no 1", "callee"])

    async def test_an_unanswered_request_ends(self, open_pump: OpenPump) -> None:
        """When nothing is left that could answer, the requester is told."""
        pump = await open_pump({"caller": forward, "callee": silent})
        with pytest.raises(NoAnswerError):
            await pump.request("caller", Ping())

    async def test_a_request_waits_only_so_long(self, open_pump: OpenPump) -> None:
        """`timeout_s` abandons the wait; the conversation goes on to its end."""
        is_given_up, done = asyncio.Event(), asyncio.Event()

        async def slow(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            await is_given_up.wait()
            done.set()
            return HandlerResponse.respond(Pong())

        pump = await open_pump({"slow": slow})
        with pytest.raises(TimeoutError):
            await pump.request("slow", Ping(), timeout_s=0.5)
        is_given_up.set()
        await pump.join()
        assert done.is_set()

    async def test_a_handler_out_of_time_answers_with_an_error(self, open_pump: OpenPump) -> None:
        """`timeout_s` of a listener ends the run, not the conversation."""

        async def stuck(payload: Ping, metadata: HandlerMetadata) -> None:
            await asyncio.Event().wait()

        pump = await open_pump({"stuck": (stuck, {"timeout_s": 0.02})})
        with pytest.raises(HandlerError, match="did not finish within timeout_s") as caught:
            await pump.request("stuck", Ping())
        assert caught.value.code == "timeout"

    async def test_what_cannot_be_sent_is_the_callers_error(self, open_pump: OpenPump) -> None:
        """An unknown listener, a wrong class, rubbish: nothing of that return is sent."""
        seen: list[Any] = []

        async def note(payload: Any, metadata: HandlerMetadata) -> None:
            seen.append(payload)

        replies: dict[int, Any] = {
            0: [HandlerResponse(Ping(), to="note"), HandlerResponse(Ping(), to="nobody")],
            1: [HandlerResponse(Ping(), to="note"), HandlerResponse(Other(), to="note")],
            2: "rubbish",
            3: [HandlerResponse(Ping(), to="note"), HandlerResponse.respond({"not": "declared"})],
            4: HandlerResponse.scatter([Ping(), Other()], to="note"),
            5: HandlerResponse(Ping(), to=["note"]),  # type: ignore[arg-type]
        }

        async def wrong(payload: Ping, metadata: HandlerMetadata) -> Any:
            return replies[payload.number]

        pump = await open_pump({"wrong": (wrong, {"retries": 3}), "note": note})
        for number, text in enumerate(
            (
                'no listener is called "nobody"',
                "which takes Ping",
                "returned str",
                "not a dataclass",
                "wrong sent Other to 'note', which takes Ping",
                "sent to a list",
            )
        ):
            with pytest.raises(HandlerError, match=text) as caught:
                await pump.request("wrong", Ping(number))
            assert caught.value.code == "bad_return"
        await pump.join()
        assert seen == []

    async def test_retries_are_spaced_and_counted(self, open_pump: OpenPump) -> None:
        """`retries` further attempts after the first, each told its number."""
        attempts: list[int] = []

        async def flaky(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            attempts.append(metadata.attempt)
            if metadata.attempt < payload.number:
                raise ConnectionError("not yet")
            return HandlerResponse.respond(Pong(metadata.attempt))

        pump = await open_pump({"flaky": (flaky, {"retries": 2, "backoff_s": 0.001})})
        assert await pump.request("flaky", Ping(3)) == Pong(3)
        assert attempts == [1, 2, 3]
        with pytest.raises(HandlerError, match="not yet") as caught:
            await pump.request("flaky", Ping(9))
        assert caught.value.attempt == 3
        await pump.join()

    async def test_what_cannot_be_read_is_a_dead_letter(self, open_pump: OpenPump) -> None:
        """A message that its receiver can't decode is set aside; its sender's caller is told."""

        async def spoil(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            spoilt = Picky(1)
            spoilt.number = -1
            return HandlerResponse(spoilt, to="note")

        async def note(payload: Ping, metadata: HandlerMetadata) -> None:
            raise AssertionError("not delivered")

        pump = await open_pump({"spoil": spoil, "note": (note, {"retries": 3})})
        seen: list[DeadLettered] = []
        pump.subscribe(
            lambda event: seen.append(event) if isinstance(event, DeadLettered) else None
        )
        with pytest.raises(HandlerError, match="Picky can't be decoded: below zero") as caught:
            await pump.request("spoil", Ping())
        assert caught.value.code == "undeliverable"
        assert [(event.listener, event.attempt) for event in seen] == [("note", 1)]
