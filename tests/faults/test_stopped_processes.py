"""A process that stands still beyond its lease counts as dead; when it goes on, it harms nobody."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import redis

from backends import create_backend
from backends.redis.archive import Archive
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of
from tests.chaos.__main__ import PATIENCE_S
from tests.chaos.pumps import PumpProcess, Said
from tests.chaos.scene import scene
from tests.fleet import Worker, running_worker
from tests.servers import RedisServer
from tests.waiting import eventually

LEASE_S = 2.0
#: What a busy machine may add.
LONG_S = 30.0


class Bench:
    """Pumps and workers of one organism, and a handler that holds until it is let go."""

    def __init__(self, organism: Path, client: redis.Redis, stack: ExitStack) -> None:
        self.organism, self.client, self._stack = organism, client, stack
        self.said: SimpleQueue[Said] = SimpleQueue()
        self.held = organism.with_name("held")
        self.settings = load_organism(organism)

    def pump(self) -> PumpProcess:
        """One that runs."""
        pump = PumpProcess(self.organism, self.said)
        self._stack.callback(pump.end)
        assert eventually(lambda: bool(pump.id), timeout_s=LONG_S), pump.log
        return pump

    def worker(self) -> Worker:
        """One that runs."""
        return self._stack.enter_context(running_worker(self.organism, "--concurrency", "1"))

    def ask(self, pump: PumpProcess, listener: str) -> None:
        """Ask what is asked in every test, under one message id."""
        pump.ask({"id": "m", "to": listener, "number": 7, "path": str(self.held)})

    def runs(self) -> list[int]:
        """The process of each run of the handler so far."""
        return [int(pid) for pid in self.held.read_text().split()] if self.held.exists() else []

    def await_runs(self, count: int, timeout_s: float = LONG_S) -> bool:
        """True as soon as it has run so often."""
        return eventually(lambda: len(self.runs()) >= count, timeout_s=timeout_s)

    def release(self) -> None:
        """Let it go."""
        self.held.with_suffix(".go").touch()

    def answer(self) -> dict[str, Any]:
        """The next answer of any pump."""
        while "id" not in (line := self.said.get(timeout=LONG_S).line):
            pass
        return line

    def count(self, what: str) -> int:
        """How often something has happened, as the ledger counts."""
        key = f"{self.settings.backend.redis_prefix}l:counts"
        return int(self.client.hget(key, what) or 0)

    def slots(self) -> int:
        """What the conversation holds: its call, and each answer that entered."""
        backend = create_backend(self.settings.backend)
        try:
            return backend.buffer_thread_len(self._conversation())
        finally:
            backend.close()

    def started_at(self) -> float:
        """When the handler began, by the clock of the process that ran it."""
        with Archive(self.settings.backend, codec_of(self.settings)) as archive:
            conversation = archive.conversation(self._conversation())
        assert conversation is not None
        return conversation.hops[0].started_at

    def _conversation(self) -> str:
        name = self.client.get(f"{self.settings.backend.redis_prefix}n:m")
        assert isinstance(name, bytes)
        return name.decode()


@pytest.fixture
def bench(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> Iterator[Bench]:
    with scene(redis_server.url, redis_prefix, lease_s=LEASE_S) as organism, ExitStack() as stack:
        yield Bench(organism, redis_client, stack)
    for key in redis_client.scan_iter(match=f"celery.{redis_prefix}*", count=1000):
        redis_client.delete(key)


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """These processes are stopped inside."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_worker_that_stood_still_comes_too_late(bench: Bench) -> None:
    """Its work is taken over within a lease and a little; its outcome is refused, and counted."""
    pump, first = bench.pump(), bench.worker()
    bench.ask(pump, "hold-on-worker")
    assert bench.await_runs(1)
    second = bench.worker()
    with standing_still(first.pid, *first.children()):
        stopped_at = time.monotonic()
        assert bench.await_runs(2, LEASE_S + PATIENCE_S)
        assert time.monotonic() - stopped_at > LEASE_S / 2
        assert bench.runs()[1] in second.children()
        bench.release()
        answer = bench.answer()
        assert (answer["id"], answer["number"]) == ("m", 7)
        assert bench.count("late_outcomes") == 0
    assert eventually(lambda: bench.count("late_outcomes") == 1, timeout_s=LONG_S)
    assert eventually(lambda: "late outcome dropped" in first.log)
    assert bench.slots() == 2


def test_a_worker_goes_on_after_it_stood_still(bench: Bench) -> None:
    """It takes a new lease, and runs what comes."""
    pump, worker = bench.pump(), bench.worker()
    alive = f"{bench.settings.backend.redis_prefix}i:alive"
    with standing_still(worker.pid, *worker.children()):
        assert eventually(lambda: not _workers(bench, alive), timeout_s=LEASE_S + PATIENCE_S)
    bench.ask(pump, "hold-on-worker")
    bench.release()
    assert bench.answer()["number"] == 7
    assert _workers(bench, alive) == 1


def test_a_pump_that_stood_still_comes_too_late(bench: Bench) -> None:
    """What it had taken another runs; its own settlement is refused, and it still gets answers."""
    first = bench.pump()
    bench.ask(first, "hold")
    assert bench.await_runs(1)
    second = bench.pump()
    with standing_still(first.process.pid):
        assert bench.await_runs(2, LEASE_S + PATIENCE_S)
        assert bench.runs() == [first.process.pid, second.process.pid]
        bench.ask(second, "hold")
        bench.release()
        answer = bench.answer()
        assert answer["number"] == 7
        assert bench.count("duplicates") == 0
    # Its own caller is told the same answer, though its news had been thrown away.
    assert bench.answer() == answer
    assert eventually(lambda: bench.count("duplicates") == 1, timeout_s=LONG_S)
    assert bench.slots() == 2


def test_nobody_goes_by_a_clock_of_its_own(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose clock is an hour off keeps its lease, and takes nothing over from the living."""
    skew = tmp_path / "skew"
    skew.mkdir()
    (skew / "sitecustomize.py").write_text(
        "import time\n_time = time.time\ntime.time = lambda: _time() - 3600\n"
    )
    first = bench.pump()
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(skew), prepend=os.pathsep)
        worker, behind = bench.worker(), bench.pump()
    bench.ask(first, "hold-on-worker")
    assert bench.await_runs(1)
    beats = partial(bench.client.zscore, f"{bench.settings.backend.redis_prefix}i:alive")
    since = beats(f"p:{behind.id}")
    assert since is not None
    # Both have judged the other's lease by then.
    assert eventually(
        lambda: (beats(f"p:{behind.id}") or 0) > since + 2000 * LEASE_S, timeout_s=LONG_S
    )
    bench.release()
    assert bench.answer()["number"] == 7
    assert bench.runs()[0] in worker.children()
    assert len(bench.runs()) == 1
    assert bench.count("taken_over") == 0
    assert bench.started_at() < time.time() - 1800


def _workers(bench: Bench, alive: str) -> int:
    members: Any = bench.client.zrange(alive, 0, -1)
    return sum(member.startswith(b"w:") for member in members)
