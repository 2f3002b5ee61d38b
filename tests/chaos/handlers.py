"""The organism under fire: one listener on workers, one on pumps, one that scatters."""

import asyncio
import os
from dataclasses import dataclass
from functools import cache

import redis

from pipeline import Gathered, HandlerMetadata, HandlerResponse

MEMBERS = 10
#: Where handlers count their runs; outside of what the organism itself keeps.
RUNS_KEY = "chaos-runs:"


@dataclass
class Ask:
    number: int = 0


@dataclass
class Told:
    number: int = 0


@cache
def _counter(pid: int) -> redis.Redis:
    return redis.Redis.from_url(os.environ["CHAOS_REDIS"])


def _count(kind: str) -> None:
    _counter(os.getpid()).incr(RUNS_KEY + kind)


def crunch(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """On a worker."""
    _count("crunch")
    return HandlerResponse.respond(Told(payload.number * 2))


async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """On a pump."""
    await asyncio.sleep(0)
    return HandlerResponse.respond(Told(payload.number))


async def spread(payload: Ask | Gathered, metadata: HandlerMetadata) -> HandlerResponse:
    """A scatter over members, half of which run on workers."""
    if isinstance(payload, Gathered):
        return HandlerResponse.respond(Told(sum(each.number for each in payload.results)))
    return HandlerResponse.scatter([Ask(payload.number)] * MEMBERS, to="crunch")


EXPECTED = {
    "crunch": lambda number: number * 2,
    "echo": lambda number: number,
    "spread": lambda number: number * 2 * MEMBERS,
}
