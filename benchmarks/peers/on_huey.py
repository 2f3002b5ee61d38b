"""Huey: blocking Redis queue, two worker processes, results announced by a list push."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from huey import RedisHuey

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("huey", "redis")
#: Seconds until an answer has come.
TIMEOUT_S = 300

# Waiting for a result by polling starts at 100 ms: with many calls the first wait is the only
# one, so there the announcements cost more than they save.
huey = RedisHuey(
    "bench",
    url=os.environ["BENCH_REDIS"],
    notify_result=bool(os.environ.get("BENCH_LATENCY")),
)


@huey.task()
def work(number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class OnHuey:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        sent = work.map([(number, PAYLOAD, burnt) for number, burnt in calls])
        return sent.get(blocking=True, timeout=TIMEOUT_S, max_delay=0.02)

    async def one(self, call: Call) -> Answer:
        return work(call[0], PAYLOAD, call[1]).get(blocking=True, timeout=TIMEOUT_S)


@asynccontextmanager
async def opened() -> AsyncIterator[OnHuey]:
    yield OnHuey()
