"""Whoever starts or stops a pump or an executor over Redis may give up at any moment."""

import asyncio
from threading import enumerate as threads_of

import pytest
import redis

from backends import BackendConfig
from pipeline import HandlerMetadata, Organism, PumpStoppedError, StreamPump
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of
from pipeline.worker import Call
from tasks.executor import CeleryExecutor
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work, work
from tests.servers import RedisServer
from tests.waiting import eventually

ENDS_S = 10


@pytest.fixture
def organism(redis_server: RedisServer, redis_prefix: str) -> Organism:
    return Organism("test", backend=BackendConfig("redis", redis_server.url, redis_prefix))


async def test_a_start_that_is_cancelled_is_and_leaves_nothing(
    organism: Organism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """No pump that others think alive, and none that runs though it was to stop."""
    for moment in range(200):
        pump = StreamPump(organism)
        pump.register("work", work, Work)
        starting = asyncio.create_task(pump.start())
        # A quiet machine needs some ten milliseconds for one.
        await asyncio.sleep(moment / 10_000)
        is_cancelled = starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert starting.cancelled() == is_cancelled, f"moment {moment}: {starting}"
        assert pump.is_running != is_cancelled
        await pump.shutdown()
        assert redis_client.zcard(f"{redis_prefix}i:alive") == 0


async def test_a_shutdown_that_is_cancelled_goes_on_to_its_end(
    organism: Organism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Nobody takes messages any more in the name of a pump that has gone."""
    own = {asyncio.current_task()}
    for moment in range(100):
        pump = StreamPump(organism)
        pump.register("work", work, Work)
        await pump.start()
        # It connects, to take messages.
        for _ in range(moment):
            await asyncio.sleep(0)
        stopping = asyncio.create_task(pump.shutdown())
        await asyncio.sleep(0.001)
        stopping.cancel()
        # Itself at least.
        _, left = await asyncio.wait({stopping, *asyncio.all_tasks()} - own, timeout=ENDS_S)
        assert not left, f"moment {moment}"
        assert redis_client.zcard(f"{redis_prefix}i:alive") == 0


@pytest.mark.parametrize("turns", [1, 2, 5])
async def test_an_executor_whose_stop_is_cancelled_stops(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str, turns: int
) -> None:
    """Whoever waits for a call is told, and no thread is left."""
    organism = load_organism(write())
    codec = codec_of(organism)
    before = set(threads_of())
    executor = CeleryExecutor(organism, codec)
    # Twice at once is once.
    await asyncio.gather(executor.start(), executor.start())
    call = Call("work", work, codec.encode(Work(1)), HandlerMetadata("t", "me"))
    running = asyncio.create_task(executor.run(call))
    while not redis_client.hlen(f"{redis_prefix}l:streams"):
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(executor.stop())
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping.cancel()
    async with asyncio.timeout(ENDS_S):
        with pytest.raises(PumpStoppedError):
            await running

    def left() -> set[str]:
        return {each.name for each in set(threads_of()) - before}

    assert await asyncio.to_thread(
        eventually, lambda: not left() & {"outcomes", "caretaker", "publisher"}
    ), left()
