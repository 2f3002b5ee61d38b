"""What a backend's operations on one thread cost as its slots go from 10 to 10,000.

Threads of every size are filled anew each round, untimed; then each operation is done some times
on each of them in turn. Costs are CPU of the caller and of Redis together, as in `growth`. Reading
a whole thread is proportional to it by nature, and left out; the Manager's server keeps threads as
the memory backend does.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from backends import BackendConfig, create_backend
from backends.protocol import Backend, SlotRecord
from benchmarks.bare import SLOT
from benchmarks.measuring import Contestant, run_once
from benchmarks.private_redis import PrivateRedis, private_redis
from benchmarks.rows import Curve, Titled

SIZES = (10, 1_000, 10_000)
BACKENDS = ("memory", "redis")
#: Threads of each size, and calls on each of them a round.
THREADS, CALLS = 5, 500
AGAINST = "slots of a thread"
#: Slots written by one call while filling.
_CHUNK = 500

Operation = Callable[[Backend, str, int], object]
#: For a thread and the number of its slots.
OPERATIONS: dict[str, Operation] = {
    "append": lambda backend, thread, _: backend.buffer_append(thread, SLOT),
    "first slot": lambda backend, thread, _: backend.buffer_get_slot(thread, 0),
    "middle slot": lambda backend, thread, size: backend.buffer_get_slot(thread, size // 2),
    "last slot": lambda backend, thread, size: backend.buffer_get_slot(thread, size - 1),
    "length": lambda backend, thread, _: backend.buffer_thread_len(thread),
}

Spent = dict[str, dict[int, list[float]]]


def compare(rounds: int, *, sizes: Sequence[int] = SIZES, calls: int = CALLS) -> list[Titled]:
    """A curve for each backend and operation."""
    curves: list[Titled] = []
    for name in BACKENDS:
        print(f"  {name}", file=sys.stderr)
        words = [sys.executable, "-m", "benchmarks.slots", name, "--rounds", str(rounds)]
        words += ["--calls", str(calls), "--sizes", *map(str, sizes)]
        for operation, by_size in run_once(Contestant(name, words)).items():
            points = {int(size): figures for size, figures in by_size.items()}
            title = f"{name}, {operation}, by {AGAINST}"
            curves.append(Curve(title, "us of cpu a call", AGAINST, points))
    return curves


def measure(
    backend: Backend,
    server: PrivateRedis | None,
    *,
    rounds: int,
    sizes: Sequence[int],
    calls: int,
) -> Spent:
    """Microseconds a call by operation and size, a figure for each round."""

    def cpu_s() -> float:
        return time.process_time() + (server.cpu_s if server else 0.0)

    spent: Spent = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for size in sizes:
            threads = [f"thread-{number}-{size}-{which}" for which in range(THREADS)]
            for thread in threads:
                _fill(backend, thread, size)
            for name, operation in OPERATIONS.items():
                before = cpu_s()
                for call in range(calls):
                    operation(backend, threads[call % THREADS], size)
                spent[name][size].append((cpu_s() - before) / calls * 1e6)
        backend.buffer_clear()
    return spent


def _fill(backend: Backend, thread: str, size: int) -> None:
    slot = SlotRecord(thread, f"organism.{thread}", SLOT)
    for at in range(0, size, _CHUNK):
        backend.record([slot] * min(_CHUNK, size - at))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    name, calls = arguments.backend, arguments.calls
    with ExitStack() as stack:
        server = stack.enter_context(private_redis()) if name == "redis" else None
        url = server.url if server else "redis://"
        config = BackendConfig(backend_type=name, redis_url=url, max_slots_per_thread=2**31)
        backend = stack.enter_context(closing(create_backend(config)))
        # The first calls of each kind load and allocate.
        measure(backend, server, rounds=1, sizes=[10], calls=calls)
        found = measure(
            backend, server, rounds=arguments.rounds, sizes=arguments.sizes, calls=calls
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
