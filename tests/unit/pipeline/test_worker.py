"""What a handler returns, as data; how each failure is told is the executors' suite."""

import asyncio
import signal
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from backends.codec import Codec
from pipeline import HandlerMetadata, HandlerResponse
from pipeline.messages import ErrorCode
from pipeline.worker import (
    BadReturnError,
    Call,
    Completed,
    Failed,
    TimeLimitError,
    encode_replies,
    run_call,
    run_handler,
)


@dataclass
class Ask:
    number: int


METADATA = HandlerMetadata("t", "external", attempt=3)
CODEC = Codec()


def data_of(number: int) -> bytes:
    return CODEC.encode(Ask(number))


@pytest.mark.parametrize("returned", [None, [], ()])
def test_nothing_is_no_reply(returned: object) -> None:
    """None, and a list of nothing."""
    assert encode_replies(returned, CODEC) == []


def test_replies_are_encoded_in_order() -> None:
    """One alone, or several in a list or tuple."""
    forward, answer = HandlerResponse(Ask(1), to="a"), HandlerResponse.respond(Ask(2))
    (alone,) = encode_replies(forward, CODEC)
    assert (alone.to, alone.payloads, alone.is_scatter) == ("a", [data_of(1)], False)
    for several in ([forward, answer], (forward, answer)):
        assert [reply.to for reply in encode_replies(several, CODEC)] == ["a", None]
    (scatter,) = encode_replies(HandlerResponse.scatter([Ask(3), Ask(4)], to="m"), CODEC)
    assert (scatter.to, scatter.payloads, scatter.is_scatter) == (
        "m",
        [data_of(3), data_of(4)],
        True,
    )
    (empty,) = encode_replies(HandlerResponse.scatter([], to="m"), CODEC)
    assert (empty.payloads, empty.is_scatter) == ([], True)


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (42, "returned int; expected None, HandlerResponse or a list"),
        ({"a": 1}, "returned dict"),
        ([None], "returned NoneType"),
        (HandlerResponse.respond("text"), "builtins.str is not a dataclass"),
        (HandlerResponse.scatter([Ask(1), 2], to="m"), "builtins.int is not a dataclass"),
    ],
)
def test_anything_else_is_refused(returned: object, text: str) -> None:
    """The error says what it was."""
    with pytest.raises(BadReturnError, match=text):
        encode_replies(returned, CODEC)


async def test_a_handler_runs_once_with_what_it_is_sent() -> None:
    """Payload and metadata; what took how long is told."""
    seen: list[Any] = []

    async def handler(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append((payload, metadata))
        return HandlerResponse.respond(payload)

    outcome = await run_handler(Call("desk", handler, data_of(5), METADATA), CODEC)
    assert isinstance(outcome, Completed)
    assert outcome.replies[0].payloads == [data_of(5)]
    assert 0 <= outcome.duration_s < 10
    assert seen == [(Ask(5), METADATA)]


async def test_a_failure_knows_who_and_which_attempt() -> None:
    """And keeps the end of a very long traceback."""

    def dig(depth: int) -> None:
        if not depth:
            raise LookupError("bottom " + "x" * 30_000)
        dig(depth - 1)

    async def handler(payload: Ask, metadata: HandlerMetadata) -> None:
        dig(payload.number)

    outcome = await run_handler(Call("desk", handler, data_of(9), METADATA), CODEC)
    assert isinstance(outcome, Failed)
    assert (outcome.error.listener, outcome.error.attempt) == ("desk", 3)
    assert outcome.error.code == ErrorCode.RAISED
    assert outcome.error.message.startswith("LookupError: bottom")
    assert len(outcome.error.traceback) == 16_384


SEEN: ContextVar[int] = ContextVar("seen", default=0)


def plain(payload: Ask, metadata: HandlerMetadata) -> object:
    """Answers by number; what it sets is gone afterwards, and no event loop is in its way."""
    assert SEEN.get() == 0
    SEEN.set(payload.number)
    if payload.number == 1:
        return HandlerResponse.respond(payload)
    if payload.number == 2:
        return asyncio.run(asyncio.sleep(0, HandlerResponse.respond(payload)))
    if payload.number == 3:
        return asyncio.sleep(0, HandlerResponse.respond(payload))
    if payload.number == 4:
        raise SystemExit("enough")
    return payload.number


async def waiting(payload: Ask, metadata: HandlerMetadata) -> object:
    await asyncio.sleep(0)
    return HandlerResponse.respond(payload)


@pytest.mark.parametrize(
    ("handler", "number", "code"),
    [
        (plain, 1, None),
        (plain, 2, None),
        (plain, 3, None),
        (plain, 4, ErrorCode.RAISED),
        (plain, 5, ErrorCode.BAD_RETURN),
        (waiting, 1, None),
    ],
)
def test_a_process_of_its_own_runs_any_handler(
    handler: Any, number: int, code: ErrorCode | None
) -> None:
    """Plain or not, on one runner, each as if it were the first."""
    with asyncio.Runner() as runner:
        for _ in range(2):
            outcome = run_call(Call("desk", handler, data_of(number), METADATA), CODEC, runner)
            if isinstance(outcome, Failed):
                assert outcome.error.code == code
            else:
                assert (outcome.replies[0].payloads, code) == ([data_of(number)], None)


def test_what_strikes_between_two_steps_is_the_runners_owner_to_see_to() -> None:
    """A time limit's signal leaves the loop as it is: nobody may run anything on it again."""

    def strike(*_: object) -> None:
        raise TimeLimitError

    def promise(payload: Ask, metadata: HandlerMetadata) -> object:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return asyncio.sleep(60)

    former = signal.signal(signal.SIGALRM, strike)
    try:
        with asyncio.Runner() as runner, pytest.raises(TimeLimitError):
            run_call(Call("desk", promise, data_of(1), METADATA), CODEC, runner)
    finally:
        signal.signal(signal.SIGALRM, former)


async def test_an_object_with_an_async_call_is_awaited() -> None:
    """What is returned counts, not how the handler was written."""

    class Handler:
        async def __call__(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(Ask(payload.number + 1))

    outcome = await run_handler(Call("desk", Handler(), data_of(1), METADATA), CODEC)
    assert isinstance(outcome, Completed)
    assert outcome.replies[0].payloads == [data_of(2)]
