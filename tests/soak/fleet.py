"""Pumps that make their own load, workers, and the Redis they share."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.chaos.pumps import Order, PumpProcess, Said
from tests.fleet import Worker, start_worker, write_organism
from tests.servers import RedisServer, running_redis
from tests.soak.handlers import LISTENERS
from tests.soak.memory import MIB, resident_mib
from tests.waiting import eventually

PREFIX = "soak:"
#: Seconds that a busy machine may take to start everybody.
_START_S = 120.0
#: Messages after which a process of a worker's pool is replaced.
TASKS_PER_CHILD = 500


class Fleet:
    """So many pumps and workers that run, and what they share."""

    def __init__(
        self,
        server: RedisServer,
        pumps: list[PumpProcess],
        workers: list[Worker],
        said: "SimpleQueue[Said]",
    ) -> None:
        self.pumps, self.workers, self._said = pumps, workers, said
        self.client: Any = server.client()

    def run(self, order: Order, within_s: float) -> list[dict[str, Any]]:
        """Have every pump obey; what each says when it is done.

        Raises:
            AssertionError: one has ended, or takes too long.
        """
        for pump in self.pumps:
            pump.ask(dict(order))
        told: list[dict[str, Any]] = []
        deadline = time.monotonic() + within_s
        while len(told) < len(self.pumps):
            self.check()
            assert time.monotonic() < deadline, f"no end of {order} within {within_s:.0f} s"
            told += self._heard(order["id"])
        return told

    def check(self) -> None:
        """Everybody still runs."""
        everybody: list[PumpProcess | Worker] = [*self.pumps, *self.workers]
        for each in everybody:
            assert each.process.poll() is None, each.log[-4000:]

    def all_keys(self) -> set[str]:
        """Every key of theirs."""
        return {key.decode() for key in self.client.scan_iter(count=1000)}

    def counted(self, what: str) -> int:
        """How often something has happened, as the ledger counts."""
        return int(self.client.hget(f"{PREFIX}l:counts", what) or 0)

    def gauges(self) -> dict[str, Callable[[], float]]:
        """What is sampled, MiB; of a pool's processes, which come and go, the mean."""
        found: dict[str, Callable[[], float]] = {}
        for number, pump in enumerate(self.pumps, 1):
            found[f"pump {number}"] = _resident(pump.process.pid)
        for number, worker in enumerate(self.workers, 1):
            found[f"worker {number}, main"] = _resident(worker.pid)
            found[f"worker {number}, pool, each"] = _mean_of_pool(worker)
        found["redis, used_memory"] = self._used_mib
        return found

    def _used_mib(self) -> float:
        return float(self.client.info("memory")["used_memory"]) / MIB

    def _heard(self, order_id: str) -> list[dict[str, Any]]:
        time.sleep(0.05)
        found = []
        while not self._said.empty():
            line = self._said.get().line
            if line.get("id") == order_id:
                found.append(line)
        return found


@contextmanager
def running_fleet(
    *, pumps: int = 2, workers: int = 2, **sections: dict[str, Any]
) -> Iterator[Fleet]:
    """Started, awaited, ended; signed, in batches, over a Redis of its own."""
    with (
        running_redis() as server,
        tempfile.TemporaryDirectory(prefix="pump-soak-") as folder,
        ExitStack() as stack,
    ):
        sections.setdefault("process_pool", {})
        sections["process_pool"] = {
            "workers": 2,
            "max_tasks_per_child": TASKS_PER_CHILD,
            **sections["process_pool"],
        }
        organism = write_organism(
            Path(folder) / "organism.yaml",
            server.url,
            PREFIX,
            LISTENERS,
            **sections,
        )
        said: SimpleQueue[Said] = SimpleQueue()
        started_workers = [start_worker(organism, "-l", "WARNING") for _ in range(workers)]
        for worker in started_workers:
            stack.callback(_end, worker)
        started_pumps = [
            PumpProcess(organism, said, module="tests.soak.pump") for _ in range(pumps)
        ]
        for pump in started_pumps:
            stack.callback(pump.end)
        fleet = Fleet(server, started_pumps, started_workers, said)
        stack.callback(fleet.client.close)
        assert eventually(lambda: _are_alive(fleet, pumps + workers), timeout_s=_START_S)
        yield fleet


def _are_alive(fleet: Fleet, count: int) -> bool:
    fleet.check()
    is_each_ready = all(pump.id for pump in fleet.pumps)
    return is_each_ready and int(fleet.client.zcard(f"{PREFIX}i:alive")) == count


def _end(worker: Worker) -> None:
    if worker.process.poll() is None:
        worker.process.terminate()
        eventually(lambda: worker.process.poll() is not None, timeout_s=20)
    worker.kill()


def _resident(pid: int) -> Callable[[], float]:
    return lambda: resident_mib(pid)


def _mean_of_pool(worker: Worker) -> Callable[[], float]:
    def mean() -> float:
        sizes = [size for pid in worker.children() if (size := resident_mib(pid)) > 0]
        return sum(sizes) / len(sizes) if sizes else 0.0

    return mean
