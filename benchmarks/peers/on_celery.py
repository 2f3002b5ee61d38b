"""Celery alone: prefork, results in Redis; a group is sent and collected."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from celery import Celery, group

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("celery", "kombu", "redis")
URL = os.environ["BENCH_REDIS"]
#: Seconds until all answers have come.
TIMEOUT_S = 300

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    # Celery's guide to optimising: many for short tasks, one for long ones.
    worker_prefetch_multiplier=1 if os.environ.get("BENCH_BUSY") else 128,
    broker_connection_retry_on_startup=True,
)


@app.task
def work(number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class OnCelery:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        sent = group(work.s(number, PAYLOAD, burnt) for number, burnt in calls).apply_async()
        return sent.get(timeout=TIMEOUT_S)

    async def one(self, call: Call) -> Answer:
        return work.delay(call[0], PAYLOAD, call[1]).get(timeout=TIMEOUT_S)


@asynccontextmanager
async def opened() -> AsyncIterator[OnCelery]:
    yield OnCelery()
