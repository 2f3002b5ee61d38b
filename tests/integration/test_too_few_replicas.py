"""A Redis with fewer replicas than `backend.redis_replicas` asks for."""

import asyncio
from contextlib import closing
from typing import Any

import pytest

from backends import BackendConfig
from pipeline import HandlerMetadata, HandlerResponse, Organism, StreamPump
from tests.integration.worker_handlers import Work
from tests.servers import running_redis
from tests.waiting import eventually


async def echo(payload: Work, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def test_the_lack_of_replicas_is_said_once(
    redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However long it lasts, for Redis is there; and once that it is over."""
    with running_redis() as server, closing(server.client()) as found:
        client: Any = found

        def asked_for() -> int:
            calls: int = client.info("commandstats").get("cmdstat_wait", {"calls": 0})["calls"]
            return calls

        def says(what: str) -> bool:
            return what in caplog.text

        config = BackendConfig("redis", server.url, redis_prefix, redis_replicas=1)
        pump = StreamPump(Organism("test", backend=config))
        pump.register("echo", echo, Work)
        async with pump, asyncio.timeout(60):
            asked = asyncio.create_task(pump.request("echo", Work(7)))
            # From the third on it would be said anew.
            assert await asyncio.to_thread(eventually, lambda: asked_for() > 3)
            with running_redis("--replicaof", "127.0.0.1", str(server.port)):
                assert (await asked).number == 7
                assert await asyncio.to_thread(eventually, lambda: says("replicates again"))
    assert caplog.text.count("fewer servers than backend.redis_replicas (1)") == 1, caplog.text
    assert "redis away" not in caplog.text
