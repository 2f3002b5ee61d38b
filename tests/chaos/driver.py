"""Feeds two pumps, kills at random, starts anew, and counts what came of every message."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread
from typing import Any

import redis

from backends import create_backend
from pipeline.organism import Organism
from pipeline.organism_file import load_organism
from tests.chaos.handlers import EXPECTED, RUNS_KEY
from tests.fleet import Worker, start_worker

KINDS = tuple(EXPECTED)
PUMPS, WORKERS = 2, 2
#: Requests one pump may have open.
OPEN_PER_PUMP = 150


@dataclass
class Report:
    """What a run came to; seconds."""

    accepted: int = 0
    completed: int = 0
    wrong: int = 0
    doubled: int = 0
    runs: int = 0
    expected_runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[float] = field(default_factory=list)
    duration_s: float = 0.0
    #: What the ledger has counted.
    ledger: dict[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Messages that were accepted and never answered."""
        return self.accepted - self.completed

    def __str__(self) -> str:
        recoveries = self.recoveries_s or [0.0]
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        return (
            f"accepted {self.accepted}, completed {self.completed}, lost {self.lost},"
            f" doubled {self.doubled}, wrong {self.wrong},"
            f" re-run {self.runs - self.expected_runs}; killed {kills};"
            f" recovery p50 {median(recoveries):.1f} s, max {max(recoveries):.1f} s;"
            f" took {self.duration_s:.0f} s"
        )


class _Pump:
    """A pump's process, and what it has been asked."""

    def __init__(
        self, organism: Path, environment: dict[str, str], answers: SimpleQueue[Any]
    ) -> None:
        self.id = ""
        self.open: dict[str, dict[str, Any]] = {}
        self.log_path = organism.with_name(f"pump-{time.monotonic_ns()}.log")
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.pump", str(organism)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        self._answers = answers
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with suppress(json.JSONDecodeError):
                    self._answers.put((self, json.loads(line)))

    def ask(self, order: dict[str, Any]) -> None:
        self.open[order["id"]] = order
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        with suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self._log.close()


class Chaos:
    """One run.

    Args:
        seed: of the kills and of the order of messages.
        pause_s: shortest and longest time between two kills; None kills nothing.
        counter: URL of the Redis where handlers count their runs.
    """

    def __init__(
        self,
        organism: Path,
        *,
        seed: int,
        counter: str,
        pause_s: tuple[float, float] | None = (1.0, 3.0),
    ) -> None:
        self._file = organism
        self.organism: Organism = load_organism(organism)
        backend = self.organism.backend
        self._client: Any = redis.Redis.from_url(backend.redis_url)
        self._prefix = backend.redis_prefix
        self._environment = {**os.environ, "CHAOS_REDIS": counter}
        self._counter: Any = redis.Redis.from_url(counter)
        self._random = random.Random(seed)  # noqa: S311 - the same kills for the same seed
        self._pause_s = pause_s
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._pumps = [self._new_pump() for _ in range(PUMPS)]
        self._workers = [self._new_worker() for _ in range(WORKERS)]
        self._watched: list[tuple[float, str, str]] = []
        self._numbers: dict[str, int] = {}
        self._answered: set[str] = set()
        self.report = Report()

    def _new_pump(self) -> _Pump:
        return _Pump(self._file, self._environment, self._answers)

    def _new_worker(self) -> Worker:
        return start_worker(self._file, environment=self._environment)

    def run(self, messages: int, *, limit_s: float) -> Report:
        """Send so many messages; ends when all are answered, or after *limit_s*."""
        started = time.monotonic()
        orders = iter(
            {"id": f"m{n}", "to": self._random.choice(KINDS), "number": n} for n in range(messages)
        )
        kinds: Counter[str] = Counter()
        next_kill = float("inf")
        while self.report.completed < messages and time.monotonic() - started < limit_s:
            self._feed(orders, kinds)
            self._collect()
            self._watch()
            if self._pause_s and self._answered and next_kill == float("inf"):
                next_kill = time.monotonic()
            if self._pause_s and time.monotonic() > next_kill:
                self._kill()
                next_kill = time.monotonic() + self._random.uniform(*self._pause_s)
        self._settle(time.monotonic() + self.organism.celery.lease_s + 15)
        self.report.duration_s = time.monotonic() - started
        self.report.expected_runs = kinds["crunch"] + 10 * kinds["spread"]
        self.report.runs = int(self._counter.get(RUNS_KEY + "crunch") or 0)
        counts = self._client.hgetall(f"{self._prefix}l:counts")
        self.report.ledger = {name.decode(): int(value) for name, value in counts.items()}
        self._count_doubles()
        return self.report

    def close(self) -> None:
        """End every process."""
        for pump in self._pumps:
            pump.end()
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.stop(20)
            worker.kill()
        self._client.close()
        self._counter.close()

    def logs(self) -> list[str]:
        """What each process that still runs has written."""
        paths = [worker.log_path for worker in self._workers]
        paths += [pump.log_path for pump in self._pumps]
        return [path.read_text(errors="replace") for path in paths]

    def _feed(self, orders: Iterator[dict[str, Any]], kinds: Counter[str]) -> None:
        for pump in self._pumps:
            while pump.id and len(pump.open) < OPEN_PER_PUMP:
                order = next(orders, None)
                if order is None:
                    return
                kinds[order["to"]] += 1
                self._numbers[order["id"]] = EXPECTED[order["to"]](order["number"])
                self.report.accepted += 1
                pump.ask(order)

    def _collect(self) -> None:
        try:
            pump, answer = self._answers.get(timeout=0.02)
            while True:
                if "pump" in answer:
                    pump.id = answer["pump"]
                else:
                    # A pump that was killed may have said it too, just before.
                    pump.open.pop(answer["id"], None)
                    self._answered.add(answer["id"])
                    self.report.wrong += answer["number"] != self._numbers[answer["id"]]
                    self.report.completed = len(self._answered)
                pump, answer = self._answers.get_nowait()
        except Empty:
            return

    def _kill(self) -> None:
        kind = self._random.choice(("pump", "worker", "child"))
        if kind == "pump":
            index = self._random.randrange(PUMPS)
            victim = self._pumps[index]
            if not victim.id:
                return
            victim.process.send_signal(signal.SIGKILL)
            victim.end()
            self._watched.append((time.monotonic(), "pump", victim.id))
            self._pumps[index] = heir = self._new_pump()
            heir.open.update(victim.open)
            for order in victim.open.values():
                heir.ask(order)
        else:
            index = self._random.randrange(WORKERS)
            worker = self._workers[index]
            owner = self._worker_id(worker.pid)
            children = worker.children()
            if not owner or not children:
                return
            if kind == "worker":
                worker.kill()
                self._workers[index] = self._new_worker()
            else:
                child = self._random.choice(children)
                os.kill(child, signal.SIGKILL)
                owner = f"{owner}/{child}"
            self._watched.append((time.monotonic(), kind, owner))
        self.report.kills[kind] += 1

    def _worker_id(self, pid: int) -> str:
        for member in self._client.zrange(f"{self._prefix}i:alive", 0, -1):
            kind, _, name = str(member.decode()).partition(":")
            if kind == "w" and self._client.hget(f"{self._prefix}w:{name}", "pid") == b"%d" % pid:
                return name
        return ""

    def _watch(self) -> None:
        """Note since when nothing is held any more by each of the dead."""
        for each in tuple(self._watched):
            killed_at, kind, owner = each
            if not self._holds(kind, owner):
                self._watched.remove(each)
                self.report.recoveries_s.append(time.monotonic() - killed_at)

    def _holds(self, kind: str, owner: str) -> bool:
        if kind == "pump":
            found = self._client.xpending_range(
                f"{self._prefix}s:inbox", "pump", "-", "+", 1, consumername=owner
            )
            return bool(found)
        owners = {each.decode() for each in self._client.hvals(f"{self._prefix}l:claims")}
        return any(each == owner or each.startswith(f"{owner}/") for each in owners)

    def _settle(self, deadline: float) -> None:
        while self._watched and time.monotonic() < deadline:
            self._watch()
            time.sleep(0.05)
        self.report.recoveries_s += [time.monotonic() - at for at, _, _ in self._watched]

    def _count_doubles(self) -> None:
        """Every conversation's thread holds what one answer left there, and no more."""
        backend = create_backend(self.organism.backend)
        sizes: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
        for conversation in self._client.zrange(f"{self._prefix}i:closed", 0, -1):
            fields = self._client.hkeys(f"{self._prefix}v:{conversation.decode()}")
            threads = [name[1:].decode() for name in fields if name[:1] == b"t"]
            slots = sum(backend.buffer_thread_len(thread) for thread in threads)
            sizes["spread" if len(threads) > 2 else "crunch"][slots] += 1
        backend.close()
        for counts in sizes.values():
            usual = min(counts, default=0)
            self.report.doubled += sum(count for size, count in counts.items() if size > usual)
