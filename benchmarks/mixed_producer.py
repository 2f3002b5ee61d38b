"""The producer of `mixed`: offers small and large messages at a steady mean rate.

Called as `benchmarks.producer` is, with our module.
"""

import asyncio
import importlib.metadata
import json
import os
import random
import statistics
import sys
import time
from typing import Any

from benchmarks.burning import PAYLOAD
from benchmarks.ours import DISTRIBUTIONS, Work, opened
from benchmarks.producer import PROCESSES, Assignment, warm_up
from benchmarks.usage import machine_busy_s, processor_s
from pipeline import StreamPump

SMALL_MS, LARGE_MS, LARGE_SHARE = 1.0, 200.0, 0.05
#: Of what the processes could burn.
LOAD = 0.5
SEED = 20


async def offer(pump: StreamPump, assignment: Assignment) -> dict[str, Any]:
    """Send each when it is due, whatever became of those before; latencies of both kinds."""
    messages = assignment.loads[0][1]
    large = "large" if assignment.scenario == "two-listeners" else "work"
    sessions = [os.getpid(), *assignment.sessions]
    chance = random.Random(SEED)  # noqa: S311 - the same each time, and no secret
    burnt = [LARGE_MS] * round(messages * LARGE_SHARE)
    burnt += [SMALL_MS] * (messages - len(burnt))
    chance.shuffle(burnt)
    rate = LOAD * PROCESSES * 1000 / statistics.mean(burnt)
    latencies: dict[float, list[float]] = {SMALL_MS: [], LARGE_MS: []}
    processes = set()

    async def send(number: int, due: float) -> None:
        to = large if burnt[number] == LARGE_MS else "work"
        done = await pump.request(to, Work(number, PAYLOAD, burnt[number]))
        latencies[burnt[number]].append((time.perf_counter() - due) * 1000)
        processes.add(done.process)

    busy, used = machine_busy_s(), processor_s(sessions)
    started = due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(messages):
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(send(number, due))
    taken = machine_busy_s() - busy - (processor_s(sessions) - used)
    offered_s = (time.perf_counter() - started) * (os.cpu_count() or 1)
    centiles = statistics.quantiles(latencies[SMALL_MS], n=100, method="inclusive")
    return {
        "answers": sum(map(len, latencies.values())),
        "processes": len(processes),
        "p50_ms": centiles[49],
        "p99_ms": centiles[98],
        "others_percent": max(0.0, 100 * taken / offered_s),
        "large_p50_ms": statistics.median(latencies[LARGE_MS]),
    }


async def run(assignment: Assignment) -> dict[str, Any]:
    """Warm up with small ones, then offer both kinds."""
    async with opened() as ours:
        await warm_up(ours, SMALL_MS, assignment.warm_up)
        return await offer(ours.pump, assignment)


def main() -> None:
    """Measure, and print one JSON object."""
    figures = asyncio.run(run(Assignment(**json.loads(sys.argv[2]))))
    versions = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    print(json.dumps({"loads": [figures], "versions": versions}))


if __name__ == "__main__":
    main()
