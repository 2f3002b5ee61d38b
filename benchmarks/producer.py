"""The one producer of a scenario: sends, awaits every answer, prints one JSON object.

Runs in the contestant's own venv, so it needs the standard library alone:

    python -m benchmarks.producer MODULE ASSIGNMENT

MODULE has `opened`, an async context manager of a `Contestant`, and `DISTRIBUTIONS`, the packages
whose versions matter; ASSIGNMENT is the JSON of an `Assignment`.
"""

import asyncio
import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.usage import machine_busy_s, processor_s

#: Worker processes that take part, from the first measured message on.
PROCESSES = 2
#: Seconds they have to start.
_START_S = 60.0
#: Messages sent at a time until both have answered.
_FIRST = 50

#: A message's number, and how many milliseconds its handler burns.
Call = tuple[int, float]
#: A message's number, and the process that ran it.
Answer = Sequence[int]


class Contestant(Protocol):
    """What each of them can do, in the best form its documentation shows."""

    async def many(self, calls: Sequence[Call]) -> Sequence[Answer]:
        """Send all, await all answers, in any order."""

    async def one(self, call: Call) -> Answer:
        """Send one and await its answer."""


@dataclass(frozen=True)
class Assignment:
    """What to measure."""

    scenario: str
    #: Milliseconds burnt by each handler, and messages sent.
    loads: Sequence[tuple[float, int]]
    #: Messages sent before each.
    warm_up: int
    #: Process ids of the sessions whose processor time counts besides the producer's own.
    sessions: Sequence[int]


def main() -> None:
    """Measure one contestant."""
    module = importlib.import_module(sys.argv[1])
    assignment = Assignment(**json.loads(sys.argv[2]))
    figures = asyncio.run(_run(module.opened, SCENARIOS[assignment.scenario], assignment))
    versions = {name: importlib.metadata.version(name) for name in module.DISTRIBUTIONS}
    print(json.dumps({"loads": figures, "versions": versions}))


async def _run(
    opened: Callable[[], Any],
    measure: Callable[[Contestant, float, int, Assignment], Awaitable[dict[str, Any]]],
    assignment: Assignment,
) -> list[dict[str, Any]]:
    figures = []
    async with opened() as contestant:
        for milliseconds, messages in assignment.loads:
            await warm_up(contestant, milliseconds, assignment.warm_up)
            figures.append(await measure(contestant, milliseconds, messages, assignment))
    return figures


async def warm_up(contestant: Contestant, milliseconds: float, messages: int) -> None:
    """Send so many, and go on until both processes have answered."""
    seen: set[int] = set()
    sent = 0
    deadline = time.monotonic() + _START_S
    while sent < messages or len(seen) < PROCESSES:
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {_START_S:g} s {len(seen)} of {PROCESSES} processes answer")
        size = _FIRST if len(seen) < PROCESSES else messages - sent
        size = min(size, messages)
        answers = await contestant.many([(number, milliseconds) for number in range(size)])
        seen |= {pid for _, pid in answers}
        sent += size


async def measure_many(
    contestant: Contestant, milliseconds: float, messages: int, assignment: Assignment
) -> dict[str, Any]:
    """All at once: messages a second, processor time of all sides a message, efficiency.

    A share of the machine goes to others, which a busy one shows: it is told as well.
    """
    calls = [(number, milliseconds) for number in range(messages)]
    sessions = [os.getpid(), *assignment.sessions]
    busy, used, started = machine_busy_s(), processor_s(sessions), time.perf_counter()
    answers = await contestant.many(calls)
    wall_s = time.perf_counter() - started
    used, busy = processor_s(sessions) - used, machine_busy_s() - busy
    others = max(0.0, busy - used) / (wall_s * (os.cpu_count() or 1))
    efficiency = messages * milliseconds / 1000 / (wall_s * PROCESSES)
    return {
        "milliseconds": milliseconds,
        **_checked(answers, messages),
        "wall_s": wall_s,
        "per_s": messages / wall_s,
        "processor_us": used / messages * 1e6,
        "efficiency": efficiency,
        # What the rest of the machine did meanwhile, and what of the remainder was work.
        "others_percent": 100 * others,
        "efficiency_of_rest": efficiency / (1 - others) if others < 1 else 0.0,
    }


async def measure_each(
    contestant: Contestant, milliseconds: float, messages: int, assignment: Assignment
) -> dict[str, Any]:
    """One after the other: milliseconds from the call to its answer."""
    answers, durations_ms = [], []
    for number in range(messages):
        started = time.perf_counter()
        answers.append(await contestant.one((number, milliseconds)))
        durations_ms.append((time.perf_counter() - started) * 1000)
    centiles = statistics.quantiles(durations_ms, n=100, method="inclusive")
    return {
        "milliseconds": milliseconds,
        **_checked(answers, messages),
        "p50_ms": centiles[49],
        "p99_ms": centiles[98],
    }


def _checked(answers: Sequence[Answer], messages: int) -> dict[str, Any]:
    """How many answers came, and from how many processes; each message has one."""
    if sorted(number for number, _ in answers) != list(range(messages)):
        raise ValueError(f"{len(answers)} answers to {messages} messages, or not to these")
    return {"answers": len(answers), "processes": len({pid for _, pid in answers})}


SCENARIOS = {"many": measure_many, "each": measure_each}

if __name__ == "__main__":
    main()
