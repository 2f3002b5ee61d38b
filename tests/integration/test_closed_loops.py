"""An event loop that is closed before whatever ran on it was stopped."""

import asyncio
from threading import enumerate as threads_of

import redis

from pipeline import HandlerMetadata, Organism, StreamPump
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of
from pipeline.worker import Call
from tasks.executor import CeleryExecutor
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work, work
from tests.waiting import eventually


async def test_what_its_pump_held_goes_to_another(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Though the process lives on, and could renew the lease."""
    file = write(name="held")
    organism = load_organism(file)
    forgotten: list[StreamPump] = []
    begun = asyncio.Event()

    async def hold(payload: Work, metadata: HandlerMetadata) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def forget() -> None:
        pump = StreamPump(Organism("test", backend=organism.backend, celery=organism.celery))
        pump.register("echo", hold, Work)
        await pump.start()
        await pump.inject("echo", Work(1))
        await begun.wait()
        forgotten.append(pump)

    runs: list[int] = []

    async def run(payload: Work, metadata: HandlerMetadata) -> None:
        runs.append(payload.number)

    await asyncio.to_thread(asyncio.run, forget())
    pump = StreamPump(Organism("test", backend=organism.backend, celery=organism.celery))
    pump.register("echo", run, Work)
    async with pump:
        assert await asyncio.to_thread(eventually, lambda: runs == [1])


def test_whoever_reads_outcomes_ends(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Its threads, and its lease."""
    organism = load_organism(write())
    codec = codec_of(organism)
    executors: list[CeleryExecutor] = []

    async def forget() -> None:
        executor = CeleryExecutor(organism, codec)
        await executor.start()
        executors.append(executor)
        call = Call("work", work, codec.encode(Work(1)), HandlerMetadata("t", "me"))
        running = asyncio.create_task(executor.run(call))
        while not redis_client.hlen(f"{redis_prefix}l:streams"):
            await asyncio.sleep(0.01)
        running.cancel()

    before = set(threads_of())
    asyncio.run(forget())

    def left() -> set[str]:
        return {each.name for each in set(threads_of()) - before}

    assert eventually(lambda: not left() & {"outcomes", "caretaker"}), left()
    assert not redis_client.zcard(f"{redis_prefix}i:alive")
    publisher = executors[0]._publisher
    assert publisher is not None
    publisher.stop()
    assert not left()
