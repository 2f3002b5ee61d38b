"""What Redis did and could not tell: every command may run twice, and counts once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import redis

from backends import BackendConfig
from pipeline import Gathered, HandlerMetadata, HandlerResponse, Organism, StreamPump
from tests.proxy import Proxy, running_proxy
from tests.servers import RedisServer
from tests.waiting import eventually

REQUESTS = 400
#: Seconds between two breaks, and between an answer that is lost and its connection's end.
PAUSE_S, DEAF_S = (0.03, 0.15), (0.0, 0.02)


@dataclass
class Ask:
    number: int


@dataclass
class Told:
    number: int


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with running_proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def config(proxy: Proxy, redis_prefix: str) -> BackendConfig:
    return BackendConfig("redis", f"redis://127.0.0.1:{proxy.port}/0", redis_prefix)


@asynccontextmanager
async def breaking(proxy: Proxy, seed: int) -> AsyncIterator[None]:
    """Lose answers and break connections, again and again."""
    chance = random.Random(seed)  # noqa: S311 - the same breaks for the same seed

    async def strike() -> None:
        while True:
            await asyncio.sleep(chance.uniform(*PAUSE_S))
            proxy.cut_answers(chance.uniform(*DEAF_S))

    striking = asyncio.create_task(strike())
    try:
        yield
    finally:
        striking.cancel()


@pytest.mark.parametrize("keep_closed", [0, 10_000])
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_message_enters_once_and_is_answered(
    config: BackendConfig, proxy: Proxy, redis_client: redis.Redis, seed: int, keep_closed: int
) -> None:
    """Whichever answers are lost: of openings, of settled hops, of reads."""
    answers: Counter[int] = Counter()

    async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await asyncio.sleep(0)
        return HandlerResponse.respond(Told(payload.number))

    async def spread(payload: Ask | Gathered, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Gathered):
            return HandlerResponse.respond(Told(sum(each.number for each in payload.results)))
        return HandlerResponse.scatter([Ask(payload.number)] * 3, to="echo")

    organism = Organism("test", backend=replace(config, keep_closed=keep_closed))
    pump = StreamPump(organism)
    pump.register("echo", echo, Ask)
    pump.register("spread", spread, Ask)

    async def ask(number: int) -> None:
        told = await pump.request("spread" if number % 2 else "echo", Ask(number))
        answers[told.number] += 1

    async with asyncio.timeout(60), pump:
        async with breaking(proxy, seed):
            await asyncio.gather(*map(ask, range(REQUESTS)))
        await pump.join()
        counts = redis_client.hgetall(f"{config.redis_prefix}l:counts")
    expected = Counter(3 * number if number % 2 else number for number in range(REQUESTS))
    assert answers == expected
    assert int(counts[b"accepted"]) == REQUESTS
    assert redis_client.zcard(f"{config.redis_prefix}i:open") == 0
    assert redis_client.xlen(f"{config.redis_prefix}s:inbox") == 0


@pytest.mark.parametrize("words", [b"@marked", b"XREADGROUP"])
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 Unavailable\r\n\r\n", b"*1\r\n:1\r\n", b"+OK\r\n"]
)
async def test_a_foreign_answer_is_as_none(
    config: BackendConfig, proxy: Proxy, words: bytes, answer: bytes
) -> None:
    """Whoever stands before a server that is away may speak for it: what was sent is sent again."""

    async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Told(payload.number))

    pump = StreamPump(Organism("test", backend=config))
    pump.register("echo", echo, Ask)
    async with asyncio.timeout(30), pump:
        proxy.answer(words, answer)
        told = asyncio.create_task(pump.request("echo", Ask(1), thread_id="marked"))
        assert await asyncio.to_thread(eventually, lambda: proxy.has_lost)
        assert await told == Told(1)
        assert await pump.request("echo", Ask(2)) == Told(2)


async def test_connections_that_break_sooner_than_all_is_sent_bring_it_all_the_same(
    config: BackendConfig, proxy: Proxy
) -> None:
    """What is too much for one of them goes by many."""

    async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Told(payload.number))

    pump = StreamPump(Organism("test", backend=config))
    pump.register("echo", echo, Ask)
    async with asyncio.timeout(60), pump:
        proxy.carry_at_most(64 * 1024)
        told = await asyncio.gather(*(pump.request("echo", Ask(n)) for n in range(REQUESTS)))
    assert told == [Told(n) for n in range(REQUESTS)]


async def test_a_redis_that_comes_back_empty_serves_again(
    config: BackendConfig, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """What was in it is gone, but no pump waits at a stream that is not there."""

    async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Told(payload.number))

    pump = StreamPump(Organism("test", backend=config))
    pump.register("echo", echo, Ask)
    async with pump:
        for number in range(5):
            before = reads(redis_client)
            proxy.freeze()
            proxy.cut()
            redis_client.delete(f"{config.redis_prefix}s:inbox")
            proxy.thaw()
            assert await asyncio.to_thread(eventually, partial(has_read, redis_client, before))
            told = await pump.request("echo", Ask(number), timeout_s=20)
            assert told == Told(number)


def reads(client: redis.Redis) -> int:
    """How often anybody has asked for new work."""
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_xreadgroup", {"calls": 0})["calls"])


def has_read(client: redis.Redis, before: int) -> bool:
    """True when somebody asked again."""
    return reads(client) > before
