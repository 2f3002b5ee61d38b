"""The organism under fire: one listener on workers, one on pumps, one that scatters."""

import asyncio
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

import redis

from pipeline import Gathered, HandlerMetadata, HandlerResponse

MEMBERS = 10
#: Where handlers count their runs; outside of what the organism itself keeps.
RUNS_KEY = "chaos-runs:"


@dataclass
class Ask:
    number: int = 0
    #: For `hold`: where it says who it is, and where it is let go.
    path: str = ""


@dataclass
class Told:
    number: int = 0
    #: Which run of the handler this is the answer of.
    run: str = ""


def _told(number: int) -> HandlerResponse:
    return HandlerResponse.respond(Told(number, uuid4().hex))


@cache
def _counter(pid: int) -> redis.Redis:
    return redis.Redis.from_url(os.environ["CHAOS_REDIS"])


def _count(kind: str) -> None:
    _counter(os.getpid()).incr(RUNS_KEY + kind)


def crunch(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """On a worker."""
    _count("crunch")
    return _told(payload.number * 2)


async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """On a pump."""
    await asyncio.sleep(0)
    return _told(payload.number)


async def spread(payload: Ask | Gathered, metadata: HandlerMetadata) -> HandlerResponse:
    """A scatter over members that run on workers."""
    if isinstance(payload, Gathered):
        return _told(sum(each.number for each in payload.results))
    return HandlerResponse.scatter([Ask(payload.number)] * MEMBERS, to="crunch")


async def hold(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """Leave this process's id at `path`, and wait until there is a file `path`.go."""
    held = Path(payload.path)
    before = held.read_text() if held.exists() else ""
    held.write_text(f"{before}{os.getpid()}\n")
    while not held.with_suffix(".go").exists():
        await asyncio.sleep(0.02)
    return _told(payload.number)


#: Of each kind of request: the answer's number, how often `crunch` runs, and how many slots its
#: threads have in the end: a call and its answer; of a scatter, each call, then what was gathered.
EXPECTED = {
    "crunch": lambda number: number * 2,
    "echo": lambda number: number,
    "spread": lambda number: number * 2 * MEMBERS,
}
CRUNCHES = {"crunch": 1, "echo": 0, "spread": MEMBERS}
SLOTS = {"crunch": [2], "echo": [2], "spread": [1] * MEMBERS + [3]}
