"""SAQ: two worker processes, `map` and `apply` of its queue."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from saq import Queue

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call

DISTRIBUTIONS = ("saq", "redis")
#: Seconds between looks for answers. Each look reads every job that is not done, so while
#: many are awaited it is rare.
LOOK_S, LOOK_FOR_ONE_S = 0.1, 0.001

queue = Queue.from_url(os.environ["BENCH_REDIS"])


async def work(context: dict, *, number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


settings = {
    "queue": queue,
    "functions": [work],
    "concurrency": 1 if os.environ.get("BENCH_BUSY") else 10,
}


class OnSaq:
    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        jobs = [
            {"number": number, "text": PAYLOAD, "milliseconds": burnt} for number, burnt in calls
        ]
        # Its sweep at start aborts what has been taken and not begun, unless it may be retried.
        return await queue.map("work", jobs, poll_interval=LOOK_S, retries=3)

    async def one(self, call: Call) -> Answer:
        number, burnt = call
        return await queue.apply(
            "work",
            poll_interval=LOOK_FOR_ONE_S,
            retries=3,
            number=number,
            text=PAYLOAD,
            milliseconds=burnt,
        )


@asynccontextmanager
async def opened() -> AsyncIterator[OnSaq]:
    await queue.connect()
    try:
        yield OnSaq()
    finally:
        await queue.disconnect()
