"""A Redis that goes back in time, as a failover may have it: what was undone is done again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.mailbox import Effects, Envelope, Opening, Settlement
from backends.redis.caller import FRESH_S
from backends.redis.mailbox import RedisMailbox
from backends.terms import Terms
from tests.conformance.mailbox_contract import YES, envelope, opening
from tests.servers import RedisServer, running_redis
from tests.waiting import eventually

PREFIX = "test:"


class Past:
    """What a server held at some moment; it can be brought back, and everybody disconnected."""

    def __init__(self, server: RedisServer) -> None:
        self._client: Any = server.client()
        self._kept: dict[bytes, bytes] = {}

    def keep(self) -> None:
        """This moment."""
        self._kept = {key: self._client.dump(key) for key in self._client.scan_iter()}

    def come_back(self) -> None:
        """All that came after it never was."""
        with self._client.pipeline() as steps:
            steps.flushall()
            for key, value in self._kept.items():
                steps.restore(key, 0, value)
            steps.client_kill_filter(_type="normal", skipme=True)
            steps.execute()

    def close(self) -> None:
        """Ask no more."""
        self._client.close()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def past(server: RedisServer) -> Iterator[Past]:
    past = Past(server)
    yield past
    past.close()


@pytest.fixture
async def mailbox(server: RedisServer) -> AsyncIterator[RedisMailbox]:
    account, _, _ = server.pump_url.removeprefix("redis://").rpartition(server.host)
    watching = f"sentinel monitor pump {server.host} {server.port} 1\n"
    with running_redis(sentinel=watching) as sentinel:
        url = f"sentinel://{account}{sentinel.host}:{sentinel.port}/pump"
        config = BackendConfig("redis", redis_url=url, redis_prefix=PREFIX, redis_ttl=60)
        mailbox = RedisMailbox(config, Codec(realm=PREFIX), Terms(lease_s=1.0))
        await mailbox.start()
        yield mailbox
        await mailbox.stop()


async def becomes(condition: Callable[[], bool]) -> bool:
    return await asyncio.to_thread(eventually, condition)


async def test_what_is_unsettled_again_is_taken_again(mailbox: RedisMailbox, past: Past) -> None:
    """Though the connection that reads had nothing to read just then, and saw nothing."""
    await mailbox.open(opening())
    (work,) = await mailbox.take(1)
    await asyncio.to_thread(past.keep)
    assert isinstance(work, Envelope)
    await mailbox.settle(Settlement(work, [], [], [], [YES]))
    await asyncio.to_thread(past.come_back)
    # So long that the connection is looked at before it is used.
    await asyncio.sleep(FRESH_S + 0.1)
    async with asyncio.timeout(10):
        assert await mailbox.take(1) == [work]
        effects = await mailbox.settle(Settlement(work, [], [], [], [YES]))
    assert effects.closed_conversations == ["c"]


async def test_an_opening_that_never_was_is_told_of(mailbox: RedisMailbox, past: Past) -> None:
    """Whoever waits for its answer hears that there is nothing to wait for."""
    told: list[Effects] = []
    mailbox.on_news = told.append
    await asyncio.to_thread(past.keep)
    await mailbox.open(opening())
    await asyncio.to_thread(past.come_back)
    assert await becomes(lambda: ["s-c"] in [each.unknown_scopes for each in told])
    assert mailbox.open_conversations == 0


async def test_news_with_smaller_ids_are_heard(
    mailbox: RedisMailbox, past: Past, server: RedisServer
) -> None:
    """The new primary's clock may be behind the old one's."""
    heard = asyncio.Event()
    mailbox.on_news = lambda effects: heard.set() if "s-2" in effects.closed_scopes else None
    stream = f"{PREFIX}s:{mailbox.pump}"
    first = envelope("m-2", scope="s-2")
    await mailbox.open(Opening([first], []))
    await asyncio.to_thread(past.keep)
    client: Any = server.client()
    news = {"k": "closed", "s": "s-nobodys", "a": ""}
    client.xadd(stream, news, id=f"{2**52}-0")
    assert await becomes(lambda: client.xlen(stream) == 0)
    await asyncio.to_thread(past.come_back)
    client.xadd(stream, {"k": "closed", "s": "s-2", "a": ""})
    client.close()
    async with asyncio.timeout(10):
        await heard.wait()
