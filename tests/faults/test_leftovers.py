"""What a drained run leaves in Redis: for its time to live the conversations, then nothing."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import pytest
import redis

from backends import BackendConfig
from pipeline import Gathered, HandlerMetadata, HandlerResponse, Organism, StreamPump
from pipeline.organism_file import load_organism
from tests.chaos.handlers import Ask
from tests.chaos.pumps import PumpProcess, Said
from tests.chaos.scene import LISTENERS
from tests.fleet import running_worker, start_worker, write_organism
from tests.servers import RedisServer
from tests.waiting import eventually

log = logging.getLogger(__name__)

TTL_S = 2
#: Short, because what is known of pumps and workers is kept for sixty of them.
LEASE_S = 0.3
#: Kombu's own, which never expire: which queue belongs to which exchange, since when and until when
#: (5.7). No message among them.
OF_CELERY = {
    "_kombu.binding.cpu",
    "_kombu.binding_permanent.cpu",
    "_kombu.binding.celeryev",
    "_kombu.binding.celery.pidbox",
    "_kombu.binding.reply.celery.pidbox",
    "_kombu.binding_deadlines",
}


@pytest.fixture
def organism(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str, tmp_path: Path
) -> Iterator[Path]:
    yield write_organism(
        tmp_path / "organism.yaml",
        redis_server.url,
        redis_prefix,
        LISTENERS,
        # A lease so short lapses on a busy machine; that is no attempt at anything here.
        celery={"lease_s": LEASE_S, "max_attempts": 1000},
        backend={"redis_ttl": TTL_S},
    )
    for key in redis_client.scan_iter(match=f"celery.{redis_prefix}*", count=1000):
        redis_client.delete(key)


@pytest.mark.timeout(180)
async def test_after_the_time_to_live_no_key_is_left(
    organism: Path,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    redis_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether pumps and workers ended in good order or were killed."""
    monkeypatch.setenv("CHAOS_REDIS", redis_server.url)
    said: SimpleQueue[Said] = SimpleQueue()
    with ExitStack() as stack:
        killed_pump = PumpProcess(organism, said)
        stack.callback(killed_pump.end)
        killed_worker = start_worker(organism)
        stack.callback(killed_worker.kill)
        stack.enter_context(running_worker(organism))
        async with StreamPump(load_organism(organism)) as pump:
            assert await asyncio.to_thread(eventually, lambda: bool(killed_pump.id), timeout_s=30)
            requests = [
                asyncio.create_task(pump.request(to, Ask(n)))
                for n in range(100)
                for to in ("echo", "crunch", "spread")
            ]
            await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
            os.kill(killed_pump.process.pid, signal.SIGKILL)
            killed_worker.kill()
            await asyncio.gather(*requests)
            await pump.inject("echo", Ask())
            await pump.join()

    assert not lasting(redis_client, redis_prefix)
    assert await asyncio.to_thread(
        eventually,
        lambda: not left(redis_client, redis_prefix),
        timeout_s=TTL_S + 60 * LEASE_S + 10,
    ), left(redis_client, redis_prefix)
    found = redis_client.scan_iter(match=f"celery.{redis_prefix}*", count=1000)
    of_celery = {key.decode().removeprefix(f"celery.{redis_prefix}") for key in found}
    log.info("celery keeps %s", ", ".join(sorted(of_celery)))
    assert of_celery <= OF_CELERY


async def test_a_pump_that_ends_before_its_second_beat(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Nothing is left for ever, though nobody renews anything after the first conversation."""

    async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(payload)

    async def spread(payload: Ask | Gathered, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Gathered):
            return HandlerResponse.respond(payload.results[0])
        return HandlerResponse.scatter([payload] * 3, to="echo")

    backend = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    pump = StreamPump(Organism("test", backend=backend))
    pump.register("echo", echo, Ask)
    pump.register("spread", spread, Ask)
    async with pump:
        for name in ("echo", "spread"):
            assert await pump.request(name, Ask(7)) == Ask(7)
    assert left(redis_client, redis_prefix)
    assert not lasting(redis_client, redis_prefix)


async def test_counts_outlast_the_pause_between_two_beats(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """However soon conversations end."""

    async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(payload)

    backend = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=0.1)
    pump = StreamPump(Organism("test", backend=backend))
    pump.register("echo", echo, Ask)

    def last_beat() -> str:
        return str(redis_client.hget(f"{redis_prefix}l:service", "last"))

    async with pump:
        assert await pump.request("echo", Ask(7)) == Ask(7)
        before = last_beat()
        assert await asyncio.to_thread(eventually, lambda: last_beat() != before)
        assert redis_client.hget(f"{redis_prefix}l:counts", "accepted") == b"1"


def left(client: redis.Redis, prefix: str) -> set[str]:
    """The keys under *prefix*."""
    keys = client.scan_iter(match=f"{prefix}*", count=1000)
    return {key.decode().removeprefix(prefix) for key in keys}


def lasting(client: redis.Redis, prefix: str) -> set[str]:
    """Those of them that never expire."""
    return {key for key in left(client, prefix) if client.ttl(f"{prefix}{key}") == -1}
