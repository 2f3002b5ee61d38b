"""Taskiq: list broker of taskiq-redis, results in Redis, two worker processes."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("taskiq", "taskiq-redis", "redis")
URL = os.environ["BENCH_REDIS"]
#: Messages sent at once: each takes a connection.
AT_ONCE = 20
#: Seconds between looks for an answer.
LOOK_S = 0.001

broker = ListQueueBroker(URL, max_connection_pool_size=AT_ONCE).with_result_backend(
    RedisAsyncResultBackend(URL, keep_results=False)
)


# No function that blocks, for that would run in a thread.
@broker.task
async def work(number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class OnTaskiq:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        sent = []
        for start in range(0, len(calls), AT_ONCE):
            some = [work.kiq(number, PAYLOAD, ms) for number, ms in calls[start : start + AT_ONCE]]
            sent += await asyncio.gather(*some)
        return [(await each.wait_result(check_interval=LOOK_S)).return_value for each in sent]

    async def one(self, call: Call) -> Answer:
        sent = await work.kiq(call[0], PAYLOAD, call[1])
        return (await sent.wait_result(check_interval=LOOK_S)).return_value


@asynccontextmanager
async def opened() -> AsyncIterator[OnTaskiq]:
    await broker.startup()
    try:
        yield OnTaskiq()
    finally:
        await broker.shutdown()
