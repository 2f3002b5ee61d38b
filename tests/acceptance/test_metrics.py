"""`--metrics-port`: real pumps and workers, scraped over HTTP, against runs that are known."""

import asyncio
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline import StreamPump
from pipeline.metrics.redis_watch import PATIENCE_S
from tests.acceptance.fleets import pump, started, write_sums
from tests.deploy.monitoring import asked_names, documented_names
from tests.scraping import Scrape, Scraped, scrape, scraped
from tests.servers import ACCOUNT, RedisServer, account, free_port, running_redis
from tests.waiting import eventually

#: Nobody answers there, and nothing that is refused should ask.
NOWHERE = "redis://127.0.0.1:1/0"

both = pytest.mark.parametrize("kind", ["run", "worker"])


@dataclass
class Watched:
    """A pump and a worker with one process, over a Redis of their own."""

    folder: Path
    server: RedisServer
    pump: Scraped
    worker: Scraped


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    folder = tmp_path / "o"
    with running_redis() as server:
        one, once = {"workers": 1}, {"max_attempts": 1, "lease_s": 2}
        write_sums(folder, server.url, "x:", process_pool=one, celery=once)
        # The test speaks to the fleet as a client of the same organism.
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "sums", raising=False)
        with scraped(folder, "run", "worker") as (pumps, works):
            yield Watched(folder, server, pumps, works)


async def send(watched: Watched, *messages: tuple[str, int], wait: bool = True) -> list[Any]:
    """Send them all at once; their answers, or errors."""
    organism = watched.folder / "organism.yaml"
    number = import_module("sums").Number
    pump = StreamPump.from_file(organism)
    async with StreamPump(pump.organism, is_client=True) as client:
        if not wait:
            return [await client.inject(to, number(n)) for to, n in messages]
        requests = (client.request(to, number(n), timeout_s=60) for to, n in messages)
        return await asyncio.gather(*requests, return_exceptions=True)


async def test_a_known_run(watched: Watched) -> None:
    """10 runs on a worker, one on the pump that fails, one that kills its process.

    What the killed process had counted stays, and its successor goes on counting.
    """
    answers = await send(watched, *(("square", n) for n in range(10)), ("picky", 1))
    assert [each.n for each in answers[:10]] == [n * n for n in range(10)]
    dead, *_ = await send(watched, ("deadly", 1))
    assert "killed its worker 1 times" in str(dead)
    await send(watched, *(("square", n) for n in range(5)))

    # Counted after its outcome was handed in, which may be a moment later.
    completed = {"listener": "square", "outcome": "completed"}
    assert watched.worker.shows("worker_runs_total", 15, **completed)
    seen, works = watched.pump.scrape(), watched.worker.scrape()
    check_pump(seen)
    check_worker(works, watched.worker)
    shown = seen.names | works.names
    assert asked_names() <= shown
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert documented_names() == {name for name in families if name.startswith("celery_pump_")}
    for each in (seen, works):
        check_format(each.text)


def check_pump(seen: Scrape) -> None:
    """What the known run is to a pump."""
    expected = {
        "fleet_hops_total": 17,
        "fleet_dispatches_total": 16,
        "fleet_completions_total": 15,
        "fleet_takeovers_total": 1,
        "fleet_dead_letters_total": 1,
        "fleet_letters": 1,
        "fleet_refused_records_total": 0,
        "fleet_retries_total": 0,
        "fleet_late_outcomes_total": 0,
        "fleet_backlog": 0,
        "fleet_conversations": 0,
        "fleet_accepted_total": 17,
        "fleet_replays_total": 0,
        "redis_up": 1,
        "build_info": 1,
        "handlers_running": 0,
    }
    assert {name: seen.value(name) for name in expected} == expected
    # Of the 16 some may have come to a process past the broker.
    assert 2 <= seen.value("batch_size_sum") <= 16
    of_listener = {
        ("handler_duration_seconds_count", "square"): 15,
        ("handler_duration_seconds_count", "picky"): 1,
        ("handler_duration_seconds_count", "deadly"): 0,
        ("queue_wait_seconds_count", "square"): 15,
        ("queue_wait_seconds_count", "deadly"): 0,
        ("handlers_started_total", "picky"): 1,
        ("dead_letters_total", "deadly"): 1,
        ("handler_failures_total", "square"): 0,
    }
    found = {key: seen.value(key[0], listener=key[1]) for key in of_listener}
    assert found == of_listener
    assert seen.value("handler_failures_total", listener="picky", code="raised") == 1
    assert seen.value("handler_failures_total", listener="deadly", code="worker_lost") == 1
    assert 0 < seen.value("queue_wait_seconds_sum", listener="square") < 15 * 30
    assert {labels["organism"] for name, labels, _ in seen.rows if "pump" in name} == {"test"}


def check_worker(works: Scrape, worker: Scraped) -> None:
    """What it is to the worker."""
    assert works.value("worker_runs_total", listener="square", outcome="completed") == 15
    assert works.value("worker_runs_total", outcome="failed") == 0
    assert works.value("worker_process_deaths_total") == 1
    assert works.value("worker_processes") == 1
    assert _listening(worker.port) == [worker.command.process.pid]
    assert works.value("redis_up") == 1
    assert 0 <= works.value("lease_age_seconds") < works.value("lease_duration_seconds")


def check_format(text: str) -> None:
    """As Prometheus's own tool reads it, where that is at hand."""
    promtool = shutil.which("promtool")
    if promtool is not None:
        done = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def _listening(port: int) -> list[int]:
    """Processes that hold the socket which listens there."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = (row[9] for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "0A")
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if path.readlink().name == f"socket:[{inode}]":
                found.append(int(path.parts[2]))
    return found


async def test_a_worker_that_is_killed_is_seen(watched: Watched) -> None:
    """What runs and what waits, then its end, and what is taken over from it."""
    await send(watched, ("gate", 1), ("gate", 2), ("gate", 3), wait=False)
    assert watched.pump.shows("fleet_backlog", 1, kind="cpu", state="running")
    assert watched.pump.shows("fleet_backlog", 2, kind="cpu", state="waiting")
    assert watched.worker.shows("worker_processes_busy", 1)
    assert watched.pump.shows("fleet_processes", 1, role="pool")
    watched.worker.command.kill()
    assert watched.pump.shows("fleet_takeovers_total", 1)
    # It killed nobody: its message waits for a worker, or is a dead letter after one attempt.
    seen = watched.pump.scrape()
    assert seen.value("fleet_processes", role="worker") == 0
    assert seen.value("fleet_backlog", kind="cpu", state="running") == 0
    watched.server.process.kill()
    assert watched.pump.shows("redis_up", 0)


async def test_an_outage_of_redis(watched: Watched) -> None:
    """A scrape answers in time with what the process itself knows; it hears when Redis is back."""
    before = watched.pump.scrape()
    assert before.value("redis_up") == 1
    watched.server.process.send_signal(signal.SIGSTOP)
    for each in (watched.pump, watched.worker):
        seen = each.scrape()
        assert seen.took_s < PATIENCE_S + 2
        assert seen.value("redis_up") == 0
        assert seen.value("build_info") == 1
        assert not {name for name in seen.names if "fleet" in name or "round_trip" in name}
    assert before.names - watched.pump.scrape().names == {
        name for name in before.names if "fleet" in name or "round_trip" in name
    }
    assert eventually(lambda: _lease_is_over(watched.pump.scrape()))
    watched.server.process.send_signal(signal.SIGCONT)
    for each in (watched.pump, watched.worker):
        assert each.shows("redis_up", 1)
        assert eventually(lambda each=each: not _lease_is_over(each.scrape()))  # type: ignore[misc]


def _lease_is_over(seen: Scrape) -> bool:
    return seen.value("lease_age_seconds") > seen.value("lease_duration_seconds")


def test_a_loop_that_is_held_is_seen(tmp_path: Path) -> None:
    """By a scrape meanwhile, over a pump that keeps all in memory, and has no fleet to tell of."""
    held = """
import time
from dataclasses import dataclass

@dataclass
class Work:
    seconds: float

async def hold(payload, metadata):
    time.sleep(payload.seconds)
"""
    (tmp_path / "holds.py").write_text(held)
    (tmp_path / "organism.yaml").write_text(
        "organism: {name: holds}\n"
        "listeners: [{name: hold, payload_class: holds.Work, handler: holds.hold}]\n"
    )
    (tmp_path / "in").write_text('{"seconds": 3}\n')
    port = free_port()
    options = ("--to", "hold", "--input", "in", "--metrics-port", str(port))
    with started(tmp_path, "run", "organism.yaml", *options) as command:
        assert eventually(lambda: _stalls_at(port) > 0.5, timeout_s=60), command.log
        seen = scrape(port)
        assert seen.value("handlers_running") == 1
        assert not {name for name in seen.names if "fleet" in name or "redis" in name}
        command.process.wait(60)


def _stalls_at(port: int) -> float:
    try:
        return scrape(port).value("event_loop_stall_seconds")
    except OSError:
        return 0.0


@both
def test_a_port_that_is_taken(kind: str, tmp_path: Path) -> None:
    """Exit 2, and a line that says what to do; nothing has begun."""
    write_sums(tmp_path, NOWHERE, "x:")
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]
        done = pump(tmp_path, kind, "organism.yaml", "--metrics-port", str(port))
    text = f"metrics can't be at 127.0.0.1 port {port}: Address already in use; choose another"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--metrics-port", "65536"], "65536 is not in the range 1<=x<=65535"),
        (["--metrics-port", "9460", "--metrics-host", "192.0.2.1"], "can't be at 192.0.2.1"),
    ],
)
def test_an_address_that_is_none(options: list[str], text: str, tmp_path: Path) -> None:
    """Wrong usage, before anything begins."""
    write_sums(tmp_path, NOWHERE, "x:")
    done = pump(tmp_path, "run", "organism.yaml", *options)
    assert done.returncode == 2
    assert text in done.stderr


@both
def test_without_prometheus_client(kind: str, tmp_path: Path) -> None:
    """The line says how to get it."""
    write_sums(tmp_path, NOWHERE, "x:")
    missing = "raise ModuleNotFoundError('no', name='prometheus_client')\n"
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "prometheus_client.py").write_text(missing)
    hidden: dict[str, Any] = {"PYTHONPATH": str(tmp_path / "hidden")}
    done = pump(tmp_path, kind, "organism.yaml", "--metrics-port", str(free_port()), **hidden)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("metrics need prometheus-client; pip install 'celery-pump[metrics]'\n")


def test_celerys_own_command_takes_the_variables(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """In its pool `solo` too, whose one process is the main process."""
    write_sums(tmp_path, redis_server.url, redis_prefix)
    program = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "cpu", "-P", "solo"]
    port = free_port()
    told = {"ORGANISM": "organism.yaml", "PUMP_METRICS_PORT": str(port), ACCOUNT: account("worker")}
    with started(tmp_path, program=[*program, "-l", "info"], **told) as command:
        assert command.says(" ready."), command.log
        assert scrape(port).value("worker_processes") == 1
        with started(tmp_path, program=program, **told) as second:
            assert second.process.wait(60) == 1
            assert "Address already in use; choose another --metrics-port" in second.log
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(60) == 0
