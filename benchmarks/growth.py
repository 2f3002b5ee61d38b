"""What a message costs as more is there: messages waiting, slots of a thread, conversations.

One process holds a store filled to each size (for Redis a server each), and measures a fixed
number of messages at each in turn, round after round; filling is not timed. Costs are
microseconds of CPU of the pump and of Redis together, which neighbours disturb least, and of
the clock. Every message is a conversation of its own, with a payload of 200 bytes.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from backends.protocol import BackendConfig
from benchmarks.held_pump import ABREAST, HeldPump, held_pump, without_limits
from benchmarks.measuring import Contestant, Target, run_once
from benchmarks.private_redis import PrivateRedis, private_redis
from benchmarks.processes import ROOT
from benchmarks.rows import Curve, Titled

WAITING = (1_000, 10_000, 100_000, 1_000_000)
CONVERSATIONS = (10, 1_000, 100_000)
SLOTS = (10, 1_000, 10_000)
#: Messages measured at a time.
MESSAGES = 3_000
#: Processes that fill one Redis.
_FILLERS = 2
#: Messages from which filling is worth processes of their own.
_MANY = 20_000


class Spent(NamedTuple):
    """Microseconds a message."""

    cpu: float
    clock: float


class Filled:
    """A pump whose store holds `size` of something, and a clock for what it does."""

    def __init__(self, size: int, pump: HeldPump, server: PrivateRedis | None) -> None:
        self.size = size
        self.pump = pump
        self.server = server

    async def spend(self, step: Awaitable[None], messages: int) -> Spent:
        """Do *step*; what each of its *messages* took."""
        server = self.server
        redis_s = server.cpu_s if server else 0.0
        cpu_s, started = time.process_time(), time.perf_counter()
        await step
        clock_s = time.perf_counter() - started
        cpu_s = time.process_time() - cpu_s
        redis_s = (server.cpu_s if server else 0.0) - redis_s
        return Spent((cpu_s + redis_s) / messages * 1e6, clock_s / messages * 1e6)


@asynccontextmanager
async def filled(backend: str, size: int, keep_closed: int = 1000) -> AsyncIterator[Filled]:
    """An empty pump of its own, over a server of its own where the backend is Redis."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(private_redis()) if backend == "redis" else None
        config = BackendConfig(backend_type=backend, redis_url=server.url if server else "redis://")
        pump = await stack.enter_async_context(held_pump(without_limits(config, keep_closed)))
        yield Filled(size, pump, server)


async def fill_waiting(held: Filled) -> None:
    """Let `size` messages wait."""
    if held.server is None or held.size < _MANY:
        await held.pump.fill(held.size)
        return
    await asyncio.to_thread(_fill_apart, held.server.url, held.size // _FILLERS)


def _fill_apart(url: str, share: int) -> None:
    """Let each of `_FILLERS` processes send its *share*."""
    command = [sys.executable, "-m", "benchmarks.growth", "fill", "--url", url]
    fillers = [
        subprocess.Popen([*command, "--messages", str(share)], cwd=ROOT) for _ in range(_FILLERS)
    ]
    try:
        if sum(filler.wait() for filler in fillers):
            raise RuntimeError("a filler failed")
    finally:
        for filler in fillers:
            filler.kill()
            filler.wait()


async def fill_open(held: Filled) -> None:
    """Let `size` conversations be open, their messages taken and not settled."""
    left = held.size
    while left > 0:
        step = min(left, ABREAST)
        await held.pump.fill(step)
        await held.pump.take(step)
        left -= step


async def fill_kept(held: Filled) -> None:
    """Let `size` conversations have ended and be kept."""
    left = held.size
    while left > 0:
        step = min(left, ABREAST)
        await held.pump.fill(step)
        await held.pump.run(step)
        left -= step


LONG = "long"


async def fill_long(held: Filled) -> None:
    """Let one conversation have `size` slots, by as many messages, each after the other ended."""
    left = held.size
    while left > 0:
        step = min(left, ABREAST)
        await held.pump.fill(step, LONG)
        await held.pump.run(step)
        left -= step


async def measure_apart(held: Filled, messages: int) -> dict[str, Spent]:
    """Letting messages in, then taking the oldest, running and settling them."""
    entering = await held.spend(held.pump.fill(messages), messages)
    leaving = await held.spend(held.pump.run(messages), messages)
    return {"admit": entering, "take, run and settle": leaving}


async def measure_long(held: Filled, messages: int) -> dict[str, Spent]:
    """Going on with the long conversation, one message after the other has ended."""

    async def go_on() -> None:
        for _ in range(messages):
            await held.pump.fill(1, LONG)
            await held.pump.run(1)

    return {"one more message": await held.spend(go_on(), messages)}


class Growth(NamedTuple):
    """What grows, and how it is filled and measured."""

    against: str
    sizes: Sequence[int]
    fill: Callable[[Filled], Awaitable[None]]
    measure: Callable[[Filled, int], Awaitable[dict[str, Spent]]]
    #: Messages measured at a time, as a share of all.
    share: float = 1.0


GROWTHS = {
    "waiting": Growth("messages waiting", WAITING, fill_waiting, measure_apart),
    "open": Growth("conversations open", CONVERSATIONS, fill_open, measure_apart),
    "kept": Growth("conversations kept", CONVERSATIONS, fill_kept, measure_apart),
    "long": Growth("slots of one conversation", SLOTS, fill_long, measure_long, 0.01),
}
BACKENDS = ("memory", "redis")


async def measure(
    name: str, backend: str, *, rounds: int, sizes: Sequence[int], messages: int
) -> dict[str, object]:
    """Fill a store to each size, then measure at each in turn.

    Returns:
        By step, `cpu` or `clock`, and size: the figure of each round; and `bytes`, what Redis
        took for each thing it was filled with, by size.
    """
    growth = GROWTHS[name]
    spent: dict[str, dict[str, dict[int, list[float]]]] = {}
    taken: dict[int, float] = {}
    count = max(1, int(messages * growth.share))
    async with AsyncExitStack() as stack:
        stores = []
        for size in sizes:
            keep_closed = max(sizes) if name == "kept" else 1000
            held = await stack.enter_async_context(filled(backend, size, keep_closed))
            before = held.server.used_bytes if held.server else 0
            await growth.fill(held)
            if held.server:
                taken[size] = (held.server.used_bytes - before) / size
            # The first one of each kind loads and allocates.
            await growth.measure(held, count)
            stores.append(held)
        for _ in range(rounds):
            for held in stores:
                for step, cost in (await growth.measure(held, count)).items():
                    for unit, figure in cost._asdict().items():
                        by_size = spent.setdefault(step, {}).setdefault(unit, {})
                        by_size.setdefault(held.size, []).append(figure)
    return {"spent": spent, "bytes": taken}


def compare(
    rounds: int,
    *,
    scale: float = 1.0,
    messages: int = MESSAGES,
    growths: Sequence[str] = tuple(GROWTHS),
) -> list[Titled]:
    """Every growth, in memory and over Redis.

    Args:
        scale: of all sizes; below 1 for a short form.
    """
    results: list[Titled] = []
    for name in growths:
        for backend in BACKENDS:
            print(f"  {name}, {backend}", file=sys.stderr)
            sizes = [max(1, int(size * scale)) for size in GROWTHS[name].sizes]
            words = [sys.executable, "-m", "benchmarks.growth", name, "--backend", backend]
            options = {"--rounds": rounds, "--messages": messages}
            words += [str(word) for option in options.items() for word in option]
            found = run_once(Contestant(name, [*words, "--sizes", *map(str, sizes)]))
            results += _curves(GROWTHS[name].against, backend, found)
    return results


def _curves(against: str, backend: str, found: dict[str, Any]) -> list[Titled]:
    curves: list[Titled] = []
    for step, by_unit in found["spent"].items():
        for unit, by_size in by_unit.items():
            points = {int(size): figures for size, figures in by_size.items()}
            title = f"{backend}, {step}, by {against}, {unit}"
            curve = Curve(title, f"us of {unit} a message", against, points)
            curves.append(replace(curve, targets=_targets(backend, step, unit, curve)))
    if found["bytes"]:
        points = {int(size): [taken] for size, taken in found["bytes"].items()}
        curves.append(Curve(f"redis bytes, by {against}", "bytes each", against, points))
    return curves


def _targets(backend: str, step: str, unit: str, curve: Curve) -> list[Target]:
    if unit != "cpu" or curve.against != GROWTHS["waiting"].against:
        return []
    smallest, *_, largest = curve.points
    title = f"g. {backend}, {step}, {largest:,} waiting against {smallest:,}"
    return [Target.at_most(title, 1.25, curve.growth)]


async def _fill(url: str, messages: int) -> None:
    config = BackendConfig(backend_type="redis", redis_url=url)
    async with held_pump(without_limits(config)) as pump:
        await pump.fill(messages)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("growth", choices=[*GROWTHS, "fill"])
    parser.add_argument("--backend", choices=BACKENDS, default="redis")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--sizes", type=int, nargs="*", default=None)
    parser.add_argument("--url", help="for fill")
    arguments = parser.parse_args()
    if arguments.growth == "fill":
        asyncio.run(_fill(arguments.url, arguments.messages))
        return
    found = measure(
        arguments.growth,
        arguments.backend,
        rounds=arguments.rounds,
        sizes=arguments.sizes or GROWTHS[arguments.growth].sizes,
        messages=arguments.messages,
    )
    print(json.dumps(asyncio.run(found)))


if __name__ == "__main__":
    main()
