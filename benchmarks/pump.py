"""Hops a second over Redis with inline handlers: one, two and four pumps, beside plain redis-py.

Each message is two hops, as in `two_hops`. A pump is a process of its own; all share one Redis,
one stream and thus the work, and each injects its share.

Plain redis-py sends what one pump sends: a pump's commands are recorded with their arguments
(`recorded`), and sent once more to an emptied Redis by asyncio redis-py, for 100 messages at a
time: a pipeline of EVALSHAs, each with as many commands as a pump gives one script, that open
them; XREADGROUP; a pipeline that settles their first hops; and so on. Only the stream's entry
ids differ, and are filled in from what XREADGROUP returns; so every command meets the state it met
then, and does all its work. What is left out is all that a pump does besides: planning, encoding,
running handlers, awaiting each message, at most as many at a time as come up by themselves.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import redis.asyncio

from backends.protocol import BackendConfig
from backends.redis.inbox import GROUP
from backends.redis.pipeliner import MAX_TURN, Pipeliner
from backends.redis.scripts import script_text
from benchmarks.measuring import Comparison, Contestant, Target
from benchmarks.private_redis import PrivateRedis, private_redis
from benchmarks.processes import ROOT
from benchmarks.rows import Figure, Titled, interleave_all
from benchmarks.two_hops import HOPS, Greeting, Shout, greet, shout
from pipeline import Organism, StreamPump
from pipeline.organism import Limits

PREFIX = "xp:"
#: Messages that one pump's callers have on their way in at once.
CALLERS = 100
#: Messages in one pipeline of plain redis-py.
ABREAST = 100
MESSAGES = 10_000
PUMPS = (1, 2, 4)


def compare(rounds: int, *, messages: int = MESSAGES) -> list[Titled]:
    """One pump beside plain redis-py; two and four pumps beside one."""
    found = interleave_all(
        [
            *(_contestant(_name(count), "pumps", messages, count) for count in PUMPS),
            _contestant("plain redis-py", "plain", messages),
        ],
        rounds=rounds,
    )
    rates = {name: figures["hops_per_s"] for name, figures in found.items()}
    one, plain = rates[_name(1)], rates["plain redis-py"]
    title = "two hops over redis, against plain redis-py"
    beside = Comparison(title, "hops/s", one, plain, more_is_better=True)
    wanted = "e. redis mode, one pump, against plain redis-py's pipelines"
    return [
        replace(beside, targets=[Target.at_least(wanted, 0.25, beside.ratio)]),
        *(
            Comparison(
                f"two hops over redis, {_name(count)} against one",
                "hops/s",
                rates[_name(count)],
                one,
                more_is_better=True,
            )
            for count in PUMPS[1:]
        ),
        *(
            Figure(f"{name}: cpu of {who} a hop over redis", "us", figures[key])
            for name, figures in found.items()
            for who, key in (("clients", "client_us"), ("redis", "redis_us"))
        ),
    ]


def _name(pumps: int) -> str:
    return "1 pump" if pumps == 1 else f"{pumps} pumps"


def _contestant(name: str, command: str, messages: int, pumps: int = 1) -> Contestant:
    words = [sys.executable, "-m", "benchmarks.pump", command]
    return Contestant(name, [*words, "--messages", str(messages), "--pumps", str(pumps)])


class Cost(NamedTuple):
    """What some hops took: seconds of the clock, and of CPU."""

    wall_s: float
    client_s: float
    redis_s: float

    def figures(self, hops: int) -> dict[str, float]:
        """As the contestant prints them."""
        return {
            "hops_per_s": hops / self.wall_s,
            "client_us": self.client_s / hops * 1e6,
            "redis_us": self.redis_s / hops * 1e6,
        }


def run_pumps(server: PrivateRedis, count: int, messages: int) -> Cost:
    """Start *count* pumps, let all begin at once, wait for the last."""
    share = str(messages // count)
    command = [sys.executable, "-m", "benchmarks.pump", "one", "--messages", share]
    with ExitStack() as stack:
        pumps = [
            stack.enter_context(
                _ended(
                    subprocess.Popen(
                        [*command, "--url", server.url],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                        cwd=ROOT,
                    )
                )
            )
            for _ in range(count)
        ]
        for pump in pumps:
            _line_of(pump)
        redis_s, started = server.cpu_s, time.perf_counter()
        for pump in pumps:
            print("go", file=pump.stdin, flush=True)
        client_s = sum(float(_line_of(pump)) for pump in pumps)
        wall_s = time.perf_counter() - started
        return Cost(wall_s, client_s, server.cpu_s - redis_s)


class _ended:  # noqa: N801 - reads as a verb at its one place
    """Kill a process by its id at the end, if it still runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __enter__(self) -> "subprocess.Popen[str]":
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _line_of(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("a pump ended before its time")
    return line


def organism(url: str) -> Organism:
    """Over Redis, its door wide enough for all callers."""
    backend = BackendConfig(backend_type="redis", redis_url=url, redis_prefix=PREFIX)
    return Organism("two-hops", backend=backend, limits=Limits(max_concurrent_handlers=CALLERS))


def two_hop_pump(url: str) -> StreamPump:
    """The organism of `two_hops`, over Redis."""
    pump = StreamPump(organism(url))
    pump.register("greeter", greet, Greeting)
    pump.register("shouter", shout, Shout)
    return pump


async def inject_all(pump: StreamPump, messages: int) -> None:
    """Inject by `CALLERS` callers, and wait until all has been done."""
    numbers = iter(range(messages))

    async def call() -> None:
        for number in numbers:
            await pump.inject("greeter", Greeting(str(number)))

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    await pump.join()


async def one(url: str, messages: int) -> None:
    """One pump of several: tells when it is ready, waits for the word, tells its CPU."""
    async with two_hop_pump(url) as pump:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        cpu_s = time.process_time()
        await inject_all(pump, messages)
        print(time.process_time() - cpu_s, flush=True)
        # Others may still wait for what this one has taken, or for it to take more.
        await asyncio.to_thread(sys.stdin.readline)


class Command(NamedTuple):
    """One command of the mailbox, as a pump ran it."""

    name: str
    arguments: tuple[Any, ...]


async def recorded(url: str, messages: int) -> tuple[tuple[Any, ...], list[list[Command]]]:
    """What every script of a pump gets first, and the commands for each message in their order."""
    commands: dict[Any, list[Command]] = defaultdict(list)
    heads = []
    run = Pipeliner.run

    def recording(self: Pipeliner, name: str, *arguments: Any) -> Any:
        heads.append(self._head)
        # Both have their conversation behind what tells where they come from.
        conversation = arguments[{"begin": 3, "open": 3, "settle": 2}[name]]
        commands[conversation].append(Command(name, arguments))
        return run(self, name, *arguments)

    async with two_hop_pump(url) as pump:
        Pipeliner.run = recording  # type: ignore[method-assign]
        try:
            await inject_all(pump, messages)
        finally:
            Pipeliner.run = run  # type: ignore[method-assign]
    return heads[0], list(commands.values())


async def plain(server: PrivateRedis, messages: int) -> Cost:
    """Record a pump, empty the Redis, and send the same by plain redis-py."""
    head, conversations = await recorded(server.url, messages)
    server.client.flushall()
    client = redis.asyncio.Redis.from_url(server.url)
    try:
        sender = _Sender(client, await client.script_load(script_text("turn")), head)
        await client.xgroup_create(f"{PREFIX}s:inbox", GROUP, "0", mkstream=True)
        redis_s, client_s, started = server.cpu_s, time.process_time(), time.perf_counter()
        for batch in _batches(conversations, ABREAST):
            await sender.replay(batch)
        wall_s = time.perf_counter() - started
        client_s = time.process_time() - client_s
        left = await client.xlen(f"{PREFIX}s:inbox")
        if left:
            raise RuntimeError(f"{left} messages were not settled")
        return Cost(wall_s, client_s, server.cpu_s - redis_s)
    finally:
        await client.aclose()


class _Sender:
    """Sends recorded commands; nothing of ours is between it and redis-py."""

    def __init__(self, client: Any, digest: str, head: tuple[Any, ...]) -> None:
        self._client = client
        self._digest = digest
        self._head = head

    async def replay(self, batch: Sequence[Sequence[Command]]) -> None:
        """Open these conversations, then settle hop after hop of each, side by side."""
        await self._send([commands[0] for commands in batch])
        for hop in range(HOPS):
            found = await self._client.xreadgroup(
                GROUP, "plain", {f"{PREFIX}s:inbox": ">"}, count=len(batch), block=1000
            )
            ((_, entries),) = found
            # Those of one pipeline stand in the stream in its order.
            settles = [
                _with_entry(commands[hop + 1], entry)
                for commands, (entry, _) in zip(batch, entries, strict=True)
            ]
            await self._send(settles)

    async def _send(self, commands: Sequence[Command]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for turn in _batches(commands, MAX_TURN):
                words: list[Any] = []
                for name, arguments in turn:
                    words += (name, len(arguments), *arguments)
                pipeline.evalsha(self._digest, 0, *self._head, *words)
            replies = await pipeline.execute()
        for reply in replies:
            if any(each[0] != b"ok" for each in reply[1:]):
                raise RuntimeError(f"a command did not do its work: {reply!r}")


def _with_entry(command: Command, entry: bytes) -> Command:
    pump, _, *rest = command.arguments
    return Command(command.name, (pump, entry, *rest))


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["pumps", "plain", "one"])
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--pumps", type=int, default=1)
    parser.add_argument("--url", help="for one")
    arguments = parser.parse_args()
    messages, pumps = arguments.messages, arguments.pumps
    if arguments.command == "one":
        asyncio.run(one(arguments.url, messages))
        return
    with private_redis() as server:
        if arguments.command == "plain":
            cost = asyncio.run(plain(server, messages))
        else:
            cost = run_pumps(server, pumps, messages)
    print(json.dumps(cost.figures(HOPS * (messages // pumps * pumps))))


if __name__ == "__main__":
    main()
