"""Each operation of the three backends a second; Redis beside plain redis-py.

Threads of 20 slots, 200 bytes each; 100 threads and as many links. `RedisBackend` and plain
redis-py take turns within one process and one server, some hundred calls each time, so that noise
hits both alike. Plain redis-py sends what `bare` says: less than what the backend promises, one
call at a time; and in pipelines of 100, which no caller can do who needs each reply to go on.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from backends import BackendConfig, create_backend
from backends.protocol import Backend
from benchmarks import bare
from benchmarks.bare import SLOT, SLOTS, THREADS, chain, thread_id
from benchmarks.measuring import Comparison, Contestant, Series, Target
from benchmarks.private_redis import private_redis
from benchmarks.rows import Grid, Titled, interleave_all

Operation = Callable[[Backend, int], object]

#: Every operation but `close`. One that empties the backend fills it first, untimed.
OPERATIONS: dict[str, Operation] = {
    "append": lambda backend, n: backend.buffer_append(thread_id(n), SLOT),
    "get_thread": lambda backend, n: backend.buffer_get_thread(thread_id(n)),
    "get_slot": lambda backend, n: backend.buffer_get_slot(thread_id(n), n % SLOTS),
    "thread_len": lambda backend, n: backend.buffer_thread_len(thread_id(n)),
    "thread_exists": lambda backend, n: backend.buffer_thread_exists(thread_id(n)),
    "delete_thread": lambda backend, n: backend.buffer_delete_thread(f"new-{n}"),
    "list_threads": lambda backend, _: backend.buffer_list_threads(),
    "registry_set": lambda backend, n: backend.registry_set(chain(n), thread_id(n)),
    "get_uuid": lambda backend, n: backend.registry_get_uuid(chain(n)),
    "get_chain": lambda backend, n: backend.registry_get_chain(thread_id(n)),
    "registry_delete": lambda backend, n: backend.registry_delete(f"new-{n}"),
    "list_all": lambda backend, _: backend.registry_list_all(),
    "ping": lambda backend, _: backend.ping(),
    "info": lambda backend, _: backend.info(),
}
CLEARING: dict[str, Callable[[Backend], object]] = {
    "buffer_clear": lambda backend: backend.buffer_clear(),
    "registry_clear": lambda backend: backend.registry_clear(),
}
BACKENDS = ("memory", "manager", "redis")
#: Calls of one kind before the other side takes its turn, and turns of each in one run.
CALLS, TURNS = 200, 5
#: In how many times as many calls the quicker backends are measured.
OFTENER = {"memory": 20, "manager": 2, "redis": 1}
#: Those the targets speak of.
AIMED_AT = ("append", "get_thread", "get_slot")
BARE_COMMAND, ONE_BY_ONE = "one bare command", "RPUSH, PEXPIRE, ZADD"
#: What plain redis-py does beside an operation, and how that is marked in a run's figures.
RIVALS = {BARE_COMMAND: ", bare", ONE_BY_ONE: ", kept, bare", "bare, pipelined": ", pipelined"}


def compare(rounds: int, *, calls: int = CALLS) -> list[Titled]:
    """All operations of all backends; Redis beside plain redis-py, one at a time and pipelined."""
    words = [sys.executable, "-m", "benchmarks.backends", "--calls", str(calls)]
    found = interleave_all([Contestant(name, [*words, name]) for name in BACKENDS], rounds=rounds)
    columns = {name: (name, "") for name in BACKENDS}
    columns |= {how: ("redis", suffix) for how, suffix in RIVALS.items()}
    rows = {
        operation: {
            column: found[backend][operation + suffix].figures
            for column, (backend, suffix) in columns.items()
            if operation + suffix in found[backend]
        }
        for operation in (*OPERATIONS, *CLEARING)
    }
    return [
        Grid("backends, each operation", "calls/s", rows),
        *(_beside(found["redis"], operation, BARE_COMMAND) for operation in AIMED_AT),
        _beside(found["redis"], "append", ONE_BY_ONE),
    ]


def _beside(found: Mapping[str, Series], operation: str, how: str) -> Comparison:
    """`RedisBackend` and plain redis-py on one operation."""
    rival = Series(how, found[operation + RIVALS[how]].figures)
    title = f"RedisBackend {operation}, against {how}"
    beside = Comparison(title, "calls/s", found[operation], rival, more_is_better=True)
    return replace(beside, targets=[Target.at_least(f"f. {title}", 0.8, beside.ratio)])


def run(name: str, calls: int) -> dict[str, float]:
    """Calls a second of every operation, and of the bare commands beside Redis."""
    with private_redis() as server:
        config = BackendConfig(
            backend_type=name, redis_url=server.url, max_slots_per_thread=2**31, max_threads=2**31
        )
        rivals = bare.BARE if name == "redis" else {}
        with closing(create_backend(config)) as backend:
            return _measure(backend, rivals, server.client, calls)


def _measure(
    backend: Backend, rivals: dict[str, bare.Bare], client: Any, calls: int
) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    _fill(backend)
    bare.fill(client)
    for turn in range(TURNS):
        numbers = range(turn * calls, (turn + 1) * calls)
        for number in numbers:
            backend.buffer_append(f"new-{number}", SLOT)
            backend.registry_set(f"organism.new-{number}", f"new-{number}")
        bare.prepare(client, numbers)
        for key, operation in OPERATIONS.items():
            seconds[key] += _timed(numbers, operation, backend)
            for rival in (key, f"{key}, kept"):
                if rival in rivals:
                    seconds[f"{rival}, bare"] += _timed(numbers, rivals[rival], client)
            if key in rivals:
                bare.prepare(client, numbers)
                seconds[f"{key}, pipelined"] += _pipelined(client, rivals[key], numbers)
    found = {key: TURNS * calls / spent for key, spent in seconds.items()}
    return found | {key: _clearing(backend, clear) for key, clear in CLEARING.items()}


def _timed(numbers: range, operation: Callable[[Any, int], object], target: Any) -> float:
    started = time.perf_counter()
    for number in numbers:
        operation(target, number)
    return time.perf_counter() - started


def _pipelined(client: Any, operation: bare.Bare, numbers: range) -> float:
    started = time.perf_counter()
    for at in range(0, len(numbers), 100):
        pipeline = client.pipeline(transaction=False)
        for number in numbers[at : at + 100]:
            operation(pipeline, number)
        pipeline.execute()
    return time.perf_counter() - started


def _fill(backend: Backend) -> None:
    for number in range(THREADS):
        backend.registry_set(chain(number), thread_id(number))
        for _ in range(SLOTS):
            backend.buffer_append(thread_id(number), SLOT)


def _clearing(backend: Backend, clear: Callable[[Backend], object]) -> float:
    """Calls a second, each on `THREADS` threads and links."""
    seconds = 0.0
    for _ in range(TURNS):
        for number in range(THREADS):
            backend.registry_set(chain(number), thread_id(number))
            backend.buffer_append(thread_id(number), SLOT)
        started = time.perf_counter()
        clear(backend)
        seconds += time.perf_counter() - started
    return TURNS / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("--calls", type=int, default=CALLS)
    arguments = parser.parse_args()
    calls = arguments.calls * OFTENER[arguments.backend]
    print(json.dumps(run(arguments.backend, calls)))


if __name__ == "__main__":
    main()
