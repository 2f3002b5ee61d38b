"""A thousand requests at once, from one event loop, over Redis and workers."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from pipeline import StreamPump
from tests.chaos.handlers import Ask
from tests.chaos.scene import scene
from tests.fleet import running_worker
from tests.servers import RedisServer
from tests.sockets import own_connections

log = logging.getLogger(__name__)

REQUESTS = 1000
#: Scripts, new work, news; the caretaker's, the backend's, the publisher's ledger; kombu's two.
CONNECTIONS = 8
#: Besides the loop's own: caretaker, publisher, and those that run what would block it.
THREADS = 2


@pytest.fixture
def organism(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> Iterator[Path]:
    with scene(redis_server.url, redis_prefix) as organism:
        yield organism
    for key in redis_client.scan_iter(match=f"celery.{redis_prefix}*", count=1000):
        redis_client.delete(key)


async def test_a_thousand_requests_share_a_few_connections(
    organism: Path,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And no thread each, whether their handlers run on the pump or on workers."""
    monkeypatch.setenv("CHAOS_REDIS", redis_server.url)
    with running_worker(organism):
        # Of tests before this one, until they are collected.
        others = {each["id"] for each in own_connections(redis_client)}
        async with StreamPump.from_file(organism) as pump:
            before = len(list(Path("/proc/self/task").iterdir()))
            requests = [
                asyncio.create_task(pump.request(to, Ask(n)))
                for n in range(REQUESTS // 2)
                for to in ("echo", "crunch")
            ]
            most_connections = most_threads = 0
            while not all(request.done() for request in requests):
                await asyncio.sleep(0.01)
                mine = await asyncio.to_thread(own_connections, redis_client)
                most_connections = max(
                    most_connections, len({each["id"] for each in mine} - others)
                )
                most_threads = max(most_threads, len(list(Path("/proc/self/task").iterdir())))
            answers = await asyncio.gather(*requests)
    assert sum(answer.number for answer in answers) == sum(n + 2 * n for n in range(REQUESTS // 2))
    log.info("%d connections, %d threads", most_connections, most_threads - before)
    assert most_connections <= CONNECTIONS
    # One is the thread that looks.
    assert most_threads - before <= THREADS + 1
