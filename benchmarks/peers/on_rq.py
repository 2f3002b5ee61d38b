"""RQ: a pool of two `SimpleWorker`s, which fork for no job; jobs are sent in one pipeline."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import redis
from rq import Queue

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("rq", "redis")
#: Seconds until an answer has come.
TIMEOUT_S = 300

# An answer is awaited for longer than redis-py would wait on its own.
queue = Queue(connection=redis.Redis.from_url(os.environ["BENCH_REDIS"], socket_timeout=None))


def work(number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class OnRq:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        jobs = queue.enqueue_many(
            [Queue.prepare_data(work, (number, PAYLOAD, burnt)) for number, burnt in calls]
        )
        return [job.latest_result(timeout=TIMEOUT_S).return_value for job in jobs]

    async def one(self, call: Call) -> Answer:
        job = queue.enqueue(work, call[0], PAYLOAD, call[1])
        return job.latest_result(timeout=TIMEOUT_S).return_value


@asynccontextmanager
async def opened() -> AsyncIterator[OnRq]:
    yield OnRq()
