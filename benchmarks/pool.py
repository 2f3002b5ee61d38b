"""`ProcessPoolExecutor(2)`, one call at a time: it promises nothing, so little can be cheaper."""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import PROCESSES, Answer, Call

DISTRIBUTIONS = ()


def work(number: int, text: str, milliseconds: float) -> list[int]:
    return answer(number, milliseconds)


class Pool:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        sent = [self._pool.submit(work, number, PAYLOAD, burnt) for number, burnt in calls]
        return [each.result() for each in sent]

    async def one(self, call: Call) -> Answer:
        return self._pool.submit(work, call[0], PAYLOAD, call[1]).result()


@asynccontextmanager
async def opened() -> AsyncIterator[Pool]:
    with ProcessPoolExecutor(PROCESSES) as pool:
        yield Pool(pool)
