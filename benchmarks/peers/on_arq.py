"""arq: two workers that look for jobs every few milliseconds, as its answers' waiters do."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("arq", "redis")
SETTINGS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
IS_BUSY = bool(os.environ.get("BENCH_BUSY"))
#: Jobs sent at once: each takes a connection.
AT_ONCE = 20
#: Seconds between looks for an answer.
LOOK_S = 0.002


async def work(context: dict, number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class WorkerSettings:
    functions = (work,)
    redis_settings = SETTINGS
    # Its default looks for jobs twice a second.
    poll_delay = 0.002
    max_jobs = 1 if IS_BUSY else 50
    log_results = False


class OnArq:
    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool

    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        jobs = []
        for start in range(0, len(calls), AT_ONCE):
            some = calls[start : start + AT_ONCE]
            jobs += await asyncio.gather(*(self._send(*each) for each in some))
        return [await job.result(poll_delay=LOOK_S) for job in jobs]

    async def one(self, call: Call) -> Answer:
        return await (await self._send(*call)).result(poll_delay=LOOK_S)

    async def _send(self, number: int, burnt: float) -> Job:
        return await self._pool.enqueue_job("work", number, PAYLOAD, burnt)


@asynccontextmanager
async def opened() -> AsyncIterator[OnArq]:
    pool = await create_pool(SETTINGS)
    try:
        yield OnArq(pool)
    finally:
        await pool.aclose()
