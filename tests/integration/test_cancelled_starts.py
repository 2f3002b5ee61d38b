"""Whoever starts a pump over Redis may give up at any moment."""

import asyncio
from dataclasses import dataclass

import redis

from backends import BackendConfig
from pipeline import HandlerMetadata, HandlerResponse, Organism, StreamPump
from tests.servers import RedisServer

#: Seconds until each start is cancelled; a quiet machine needs some ten milliseconds for one.
MOMENTS_S = [n / 10_000 for n in range(200)]


@dataclass
class Ask:
    number: int = 0


async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def test_a_start_that_is_cancelled_is_and_leaves_nothing(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """No pump that others think alive, and none that runs though it was to stop."""
    organism = Organism("test", backend=BackendConfig("redis", redis_server.url, redis_prefix))
    for moment_s in MOMENTS_S:
        pump = StreamPump(organism)
        pump.register("echo", echo, Ask)
        starting = asyncio.create_task(pump.start())
        await asyncio.sleep(moment_s)
        is_cancelled = starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert starting.cancelled() == is_cancelled, f"after {moment_s} s: {starting}"
        assert pump.is_running != is_cancelled
        await pump.shutdown()
        assert redis_client.zcard(f"{redis_prefix}i:alive") == 0
