"""celery-pump: one producer's pump on an organism whose `cpu_bound` listener answers."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.burning import PAYLOAD, answer
from benchmarks.producer import Answer, Call
from pipeline import HandlerMetadata, HandlerResponse, StreamPump

DISTRIBUTIONS = ("celery-pump", "celery", "kombu", "redis")
#: Names the organism's file.
VARIABLE = "BENCH_ORGANISM"


@dataclass
class Work:
    number: int
    text: str
    milliseconds: float


@dataclass
class Done:
    number: int
    process: int


def work(payload: Work, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Done(*answer(payload.number, payload.milliseconds)))


class Ours:
    def __init__(self, pump: StreamPump) -> None:
        self.pump = pump

    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        return await asyncio.gather(*map(self.one, calls))

    async def one(self, call: Call) -> Answer:
        number, burnt = call
        done = await self.pump.request("work", Work(number, PAYLOAD, burnt))
        return done.number, done.process


@asynccontextmanager
async def opened() -> AsyncIterator[Ours]:
    async with StreamPump.from_file(os.environ[VARIABLE]) as pump:
        yield Ours(pump)
