"""How much memory a pump and its workers take, idle and under load, and Redis for what it keeps.

Resident sizes are those of a pump with 10,000 requests on their way to a worker of two processes,
sampled while they run. What processes of a pool share with their parent is counted once for each
in `rss`, and divided among them in `pss`. What Redis takes for a message or a slot is the growth
of its `used_memory`, divided; its tables double now and then, so it depends on the number.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backends import RedisBackend
from backends.protocol import BackendConfig
from benchmarks.held_pump import PAYLOAD_BYTES, held_pump, without_limits
from benchmarks.measuring import Contestant, Series, Target
from benchmarks.private_redis import PrivateRedis, private_redis
from benchmarks.processes import ROOT
from benchmarks.rows import Figure, Titled, interleave_all
from pipeline import StreamPump, load_organism
from pipeline.cli.fleet import worker_command, worker_environment

MESSAGES = 10_000
PROCESSES = 2
WAITING = "redis, a waiting message of 200 bytes"
#: Seconds between two looks at a process, and the longest wait for a worker to start.
_SAMPLE_S, _START_S = 0.1, 90.0
_MIB = 1024 * 1024

ORGANISM = """
organism: {{name: parcels}}
backend: {{type: redis, redis_url: "{url}", max_threads: 100000}}
limits: {{max_waiting: 100000}}
listeners:
  - {{name: parcels, payload_class: parcels.Parcel, handler: parcels.give_back, cpu_bound: true}}
"""
HANDLERS = """
from dataclasses import dataclass

from pipeline import HandlerMetadata, HandlerResponse


@dataclass
class Parcel:
    text: str


def give_back(payload: Parcel, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)
"""


def compare(rounds: int, *, messages: int = MESSAGES) -> list[Titled]:
    """All of it, `rounds` times."""
    words = [sys.executable, "-m", "benchmarks.memory"]
    found = interleave_all(
        [
            Contestant(what, [*words, what, "--messages", str(messages)])
            for what in ("resident", "stored")
        ],
        rounds=rounds,
    )
    return [
        *(Figure(title, "MiB", series) for title, series in found["resident"].items()),
        *(
            Figure(title, "bytes", series, _targets(title, series))
            for title, series in found["stored"].items()
        ),
    ]


def _targets(title: str, series: Series) -> list[Target]:
    if title != WAITING:
        return []
    wanted = f"h. redis bytes per waiting message of {PAYLOAD_BYTES} bytes"
    return [Target.at_most(wanted, 700, series.median, "B")]


def stored(messages: int) -> dict[str, float]:
    """Bytes of Redis for each of *messages*, waiting or otherwise kept."""
    found = {}
    with private_redis() as server:
        found[WAITING] = asyncio.run(_waiting(server, messages))
        found |= _by_kind(server, messages)
    with private_redis() as server:
        found["redis, a slot of 200 bytes, 100 to a thread"] = _slots(server, messages)
    return found


async def _waiting(server: PrivateRedis, messages: int) -> float:
    """Each a conversation of its own, its slot and link included."""
    config = BackendConfig(backend_type="redis", redis_url=server.url)
    async with held_pump(without_limits(config)) as pump:
        before = server.used_bytes
        await pump.fill(messages)
        return (server.used_bytes - before) / messages


def _by_kind(server: PrivateRedis, messages: int) -> dict[str, float]:
    """What each kind of key takes of that, its share of the table of keys left out."""
    kinds = {
        "its stream entry": "s:inbox",
        "its conversation": "v:*",
        "its thread and slot": "t:*",
        "its place in indices": "i:*",
        "its opening": "u:*",
    }
    client = server.client
    return {
        f"redis, of that {name}": sum(
            client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(f"xp:{keys}", 1000)
        )
        / messages
        for name, keys in kinds.items()
    }


def _slots(server: PrivateRedis, slots: int) -> float:
    backend = RedisBackend(server.url)
    try:
        before = server.used_bytes
        for number in range(slots):
            backend.buffer_append(f"thread-{number // 100}", b"x" * PAYLOAD_BYTES)
        return (server.used_bytes - before) / slots
    finally:
        backend.close()


def resident(messages: int) -> dict[str, float]:
    """MiB of a pump, a worker's main process and one of its pool: idle, under load, afterwards."""
    with tempfile.TemporaryDirectory(prefix="pump-bench-") as folder, private_redis() as server:
        file = Path(folder, "organism.yaml")
        file.write_text(ORGANISM.format(url=server.url))
        Path(folder, "parcels.py").write_text(HANDLERS)
        with _worker(file) as worker, _pump(file, messages) as pump:
            idle = _sizes(pump.pid, worker)
            loaded = _under_load(pump, worker)
    return {
        f"{name}, {state} ({size})": figure
        for state, sizes in (("idle", idle), ("under load", loaded))
        for (name, size), figure in sizes.items()
    }


Sizes = dict[tuple[str, str], float]


def _under_load(pump: "subprocess.Popen[str]", worker: int) -> Sizes:
    """The largest of each size while the pump works."""
    print("go", file=pump.stdin, flush=True)
    largest = _sizes(pump.pid, worker)
    os.set_blocking(_fd(pump), False)
    while not (pump.stdout and pump.stdout.readline()):
        if pump.poll() is not None:
            raise RuntimeError("the pump ended before its time")
        time.sleep(_SAMPLE_S)
        for key, figure in _sizes(pump.pid, worker).items():
            largest[key] = max(largest.get(key, 0), figure)
    return largest


def _fd(pump: "subprocess.Popen[str]") -> int:
    if pump.stdout is None:
        raise RuntimeError("the pump's output is not ours")
    return pump.stdout.fileno()


def _sizes(pump: int, worker: int) -> Sizes:
    """MiB by process and by kind of size; of the pool's processes the largest."""
    found: Sizes = {}
    processes = [("pump", pump), ("worker's main process", worker)]
    processes += [("worker's pool process", child) for child in _children(worker)]
    for name, pid in processes:
        for key, figure in _size_of(pid):
            found[name, key] = max(found.get((name, key), 0), figure)
    return found


def _size_of(pid: int) -> Iterator[tuple[str, float]]:
    """MiB by kind of size; nothing of what has ended. Source: proc(5), smaps_rollup."""
    text = ""
    # A pool's process is replaced after some tasks.
    with suppress(FileNotFoundError, ProcessLookupError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        if key in ("Rss", "Pss"):
            yield key.lower(), int(rest.split()[0]) * 1024 / _MIB


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextmanager
def _worker(file: Path) -> Iterator[int]:
    """The main process of a worker that is ready; it and its pool are ended by their ids."""
    log = file.with_name("worker.log")
    command = worker_command(load_organism(file), concurrency=PROCESSES, loglevel="info")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=worker_environment(file), cwd=file.parent, stdout=output, stderr=output
        )
    children: set[int] = set()
    try:
        deadline = time.monotonic() + _START_S
        while " ready" not in (text := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start:\n{text}")
            time.sleep(_SAMPLE_S)
        children = set(_children(process.pid))
        yield process.pid
    finally:
        children |= set(_children(process.pid))
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


@contextmanager
def _pump(file: Path, messages: int) -> Iterator["subprocess.Popen[str]"]:
    """A pump in a process of its own, ready; ended by its id."""
    command = [sys.executable, "-m", "benchmarks.memory", "pump", "--file", str(file)]
    process = subprocess.Popen(
        [*command, "--messages", str(messages)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        if not (process.stdout and process.stdout.readline()):
            raise RuntimeError("the pump did not start")
        yield process
    finally:
        process.kill()
        process.communicate()


async def serve(file: Path, messages: int) -> None:
    """Tells when it is ready, waits for the word, sends *messages* and awaits their answers."""
    pump = StreamPump.from_file(file)
    payload: Any = pump.organism.listeners[0].payload_class("x" * PAYLOAD_BYTES)
    async with pump:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(pump.request("parcels", payload) for _ in range(messages)))
        print("done", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["resident", "stored", "pump"])
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--file", type=Path, help="for pump")
    arguments = parser.parse_args()
    if arguments.what == "pump":
        asyncio.run(serve(arguments.file, arguments.messages))
        return
    measure = resident if arguments.what == "resident" else stored
    print(json.dumps(measure(arguments.messages)))


if __name__ == "__main__":
    main()
