"""The pump's promises where every handler runs on a worker, and two pumps share the work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from pipeline import HandlerError, StreamPump
from pipeline.errors import NoAnswerError
from pipeline.events import Event, HandlerFailed, HandlerFinished, ThreadClosed
from tests.conformance.pump import fleet_handlers as handlers
from tests.conformance.pump.base import settled
from tests.conformance.pump.fleet_handlers import Ask, Reply
from tests.fleet import Worker, running_worker, write_organism
from tests.servers import RedisServer

SETTINGS: dict[str, dict[str, Any]] = {
    "third_time_lucky": {"retries": 2, "backoff_s": 0.2},
    "never_end": {"timeout_s": 0.3},
}
NAMES = (
    *("answer", "forward", "forward_twice", "scatter", "member", "third_time_lucky", "fail"),
    *("ask_one_that_fails", "ask_nobody", "never_end", "say_nothing", "remember", "leave_a_line"),
)


@pytest.fixture(scope="module")
def organism(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    module = handlers.__name__
    listeners = [
        {
            "name": name,
            "handler": f"{module}.{name}",
            "payload_class": f"{module}.Ask",
            "cpu_bound": True,
            **SETTINGS.get(name, {}),
        }
        for name in NAMES
    ]
    prefix = f"test-{uuid4().hex}:"
    file = tmp_path_factory.mktemp("fleet") / "organism.yaml"
    yield write_organism(file, redis_server.url, prefix, listeners)
    client = redis.Redis.from_url(redis_server.url)
    for pattern in (f"{prefix}*", f"celery.{prefix}*"):
        for key in client.scan_iter(match=pattern, count=1000):
            client.delete(key)
    client.close()


@pytest.fixture(scope="module")
def worker(organism: Path) -> Iterator[Worker]:
    with running_worker(organism) as worker:
        yield worker


@pytest.fixture
async def pump(organism: Path, worker: Worker) -> AsyncIterator[StreamPump]:
    async with StreamPump.from_file(organism) as pump:
        yield pump


@pytest.fixture
async def other(organism: Path, worker: Worker) -> AsyncIterator[StreamPump]:
    async with StreamPump.from_file(organism) as pump:
        yield pump


async def test_a_request_is_answered(pump: StreamPump, worker: Worker) -> None:
    """By a process of the worker."""
    reply = await pump.request("answer", Ask(7))
    assert reply.number == 7
    assert int(reply.texts[0]) in worker.children()


async def test_answers_go_back_the_way_they_came(pump: StreamPump) -> None:
    """Three listeners deep, every hop on a worker; callers are told who answered."""
    reply = await pump.request("forward_twice", Ask(1))
    assert reply == Reply(3, ["answer"])


async def test_members_are_gathered(pump: StreamPump) -> None:
    """In the order scattered: answers, a failure, and one that said nothing."""
    reply = await pump.request("scatter", Ask(20))
    numbers = [str(n) if n not in (1, 2) else "-" for n in range(20)]
    assert reply == Reply(20, [*numbers, "1=LookupError: no 1 here"])
    assert await pump.request("scatter", Ask(0)) == Reply(0)


async def test_retries_are_spaced_and_counted(pump: StreamPump) -> None:
    """Each attempt is told its number, subscribers hear of all of them."""
    seen: list[Event] = []
    pump.subscribe(seen.append)
    started = asyncio.get_running_loop().time()
    assert await pump.request("third_time_lucky", Ask()) == Reply(3)
    # Half of 0.2 s and of 0.4 s at least.
    assert asyncio.get_running_loop().time() - started >= 0.3
    failed = [event for event in seen if isinstance(event, HandlerFailed)]
    assert [(event.attempt, event.will_retry) for event in failed] == [(1, True), (2, True)]
    finished = [event for event in seen if isinstance(event, HandlerFinished)]
    assert [event.listener for event in finished] == ["third_time_lucky"]
    await settled(lambda: any(isinstance(event, ThreadClosed) for event in seen))


@pytest.mark.parametrize(
    ("listener", "code", "text"),
    [
        ("fail", "raised", "LookupError: no 4 here"),
        ("ask_one_that_fails", "raised", "LookupError: no 4 here"),
        ("never_end", "timeout", "never_end did not finish within timeout_s (0.3 s)"),
        ("ask_nobody", "bad_return", "nobody"),
    ],
)
async def test_failures_reach_the_requester(
    pump: StreamPump, listener: str, code: str, text: str
) -> None:
    """Whatever went wrong, and however far from it."""
    with pytest.raises(HandlerError) as caught:
        await pump.request(listener, Ask(4))
    assert caught.value.code == code
    assert text in str(caught.value)


async def test_an_unanswered_request_ends(pump: StreamPump) -> None:
    """Its conversation is over, so nobody waits for it."""
    with pytest.raises(NoAnswerError):
        await pump.request("say_nothing", Ask())


async def test_handlers_read_the_conversation(pump: StreamPump, other: StreamPump) -> None:
    """All of it, whichever pump a message came through."""
    thread_id = uuid4().hex
    chain = f"system.test.@{thread_id}.external.remember"
    first = await pump.request("remember", Ask(5), thread_id=thread_id)
    assert first == Reply(1, [chain, "external:5"])
    second = await other.request("remember", Ask(6), thread_id=thread_id)
    assert second == Reply(3, [chain, "external:5", "remember:1", "external:6"])


async def test_a_message_id_is_sent_once(
    pump: StreamPump, other: StreamPump, tmp_path: Path
) -> None:
    """Through however many pumps at once; each who asked is answered."""
    lines, message_id = tmp_path / "lines", uuid4().hex
    calls = [
        each.request("leave_a_line", Ask(8, str(lines)), message_id=message_id)
        for each in (pump, other, pump)
    ]
    assert await asyncio.gather(*calls) == [Reply(8)] * 3
    assert await other.request("leave_a_line", Ask(9, str(lines)), message_id=message_id) == (
        Reply(8)
    )
    assert lines.read_text() == "8\n"


@pytest.mark.parametrize(
    "message_id",
    ["order 42", "order\u00a042", "order\n42", "order~x", "order:^42", "x" * 200],
    ids=["space", "wide space", "line feed", "tilde", "marks", "long"],
)
async def test_a_message_id_may_be_any_text(pump: StreamPump, message_id: str) -> None:
    """However it looks, the message is run and answered."""
    async with asyncio.timeout(20):
        assert (await pump.request("answer", Ask(3), message_id=message_id)).number == 3


async def test_a_message_id_is_taken_for_no_id_of_ours(pump: StreamPump) -> None:
    """Not for that of another message's attempt, nor of what another message sent."""
    calls = (
        pump.request("third_time_lucky", Ask(), message_id="first"),
        pump.request("answer", Ask(1), message_id="first~2"),
        pump.request("forward", Ask(1), message_id="second"),
        pump.request("answer", Ask(2), message_id="second.0"),
    )
    async with asyncio.timeout(20):
        replies = await asyncio.gather(*calls)
    assert [reply.number for reply in replies] == [3, 1, 3, 2]


async def test_two_pumps_share_the_work(pump: StreamPump, other: StreamPump) -> None:
    """Each hop is seen by one of them, each answer comes to who asked."""
    seen: list[str] = []
    for each in (pump, other):
        each.subscribe(
            lambda event: (
                seen.append(event.thread_id) if isinstance(event, HandlerFinished) else None
            )
        )
    calls = [each.request("answer", Ask(n)) for n in range(100) for each in (pump, other)]
    async with asyncio.timeout(60):
        replies = await asyncio.gather(*calls)
    assert [reply.number for reply in replies] == [n for n in range(100) for _ in range(2)]
    # A caller may hear of its answer before the other pump that it was the one to enter it.
    await settled(lambda: len(seen) >= 200)
    assert len(seen) == len(set(seen)) == 200
