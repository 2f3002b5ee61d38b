"""Celery without results: each task counts itself in Redis, the producer looks at the count.

No answer comes back, so this is no round trip; it is what Celery's own path costs at the least.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import redis
from celery import Celery

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("celery", "kombu", "redis")
URL = os.environ["BENCH_REDIS"]
#: A hash: how many tasks each process has run.
COUNTS = "bench-counts"
#: Seconds between looks.
PAUSE_S = 0.01

app = Celery("bench", broker=URL)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=1 if os.environ.get("BENCH_BUSY") else 128,
    broker_connection_retry_on_startup=True,
)
client = redis.Redis.from_url(URL)


@app.task
def work(number: int, text: str, milliseconds: float) -> None:
    client.hincrby(COUNTS, answer(number, milliseconds)[1])


class Counted:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        client.delete(COUNTS)
        for number, burnt in calls:
            work.delay(number, PAYLOAD, burnt)
        while True:
            counts = {int(pid): int(count) for pid, count in client.hgetall(COUNTS).items()}
            if sum(counts.values()) == len(calls):
                break
            await asyncio.sleep(PAUSE_S)
        processes = [pid for pid, count in counts.items() for _ in range(count)]
        return list(zip((number for number, _ in calls), processes, strict=True))

    async def one(self, call: Call) -> Answer:
        raise NotImplementedError("without results there is nothing to await")


@asynccontextmanager
async def opened() -> AsyncIterator[Counted]:
    yield Counted()
