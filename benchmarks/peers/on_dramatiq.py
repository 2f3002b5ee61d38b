"""Dramatiq: Redis broker, results in Redis; a group is run and its results awaited."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("dramatiq", "redis")
URL = os.environ["BENCH_REDIS"]
TIMEOUT_MS = 300_000

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def work(number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class OnDramatiq:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        sent = dramatiq.group([work.message(number, PAYLOAD, burnt) for number, burnt in calls])
        return list(sent.run().get_results(block=True, timeout=TIMEOUT_MS))

    async def one(self, call: Call) -> Answer:
        return work.send(call[0], PAYLOAD, call[1]).get_result(block=True, timeout=TIMEOUT_MS)


@asynccontextmanager
async def opened() -> AsyncIterator[OnDramatiq]:
    yield OnDramatiq()
