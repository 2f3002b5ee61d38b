"""Flower shows each run under its handler's name, and its counts are the ledger's."""

import asyncio
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from backends.redis.archive import Archive
from pipeline import StreamPump
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of
from tests.conformance import executor_handlers as handlers
from tests.conformance.executor_handlers import Task
from tests.fleet import running_worker, write_organism
from tests.servers import ACCOUNT, RedisServer, account, free_port, require_chromium
from tests.waiting import eventually

#: Runs of each handler; the failing one is tried twice.
RUNS = 40


@pytest.fixture
def organism_file(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Path]:
    prefix = f"test-{uuid4().hex}:"
    module = handlers.__name__
    listeners = [
        {
            "name": name,
            "handler": f"{module}.{name}",
            "payload_class": f"{module}.Task",
            "cpu_bound": True,
            "retries": retries,
            "backoff_s": 0.01,
        }
        for name, retries in (("double", 0), ("fail", 1))
    ]
    yield write_organism(tmp_path / "organism.yaml", redis_server.url, prefix, listeners)
    for pattern in (f"{prefix}*", f"celery.{prefix}*"):
        for key in redis_client.scan_iter(match=pattern, count=1000):
            redis_client.delete(key)


@contextmanager
def running_flower(organism: Path) -> Iterator[str]:
    """Flower by Celery's own command; where it is."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "tasks", "flower"]
    process = subprocess.Popen(
        [*command, "--address=127.0.0.1", f"--port={port}"],
        cwd=organism.parent,
        env={**os.environ, "ORGANISM": str(organism), ACCOUNT: account("monitor")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        assert eventually(lambda: bool(_read(f"{url}/metrics")), timeout_s=60)
        yield url
    finally:
        process.kill()
        process.wait()


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return ""


def _events(url: str) -> Counter[tuple[str, str]]:
    """How often Flower has seen each kind of event of each task."""
    found: Counter[tuple[str, str]] = Counter()
    pattern = re.compile(r'flower_events_total\{task="([^"]+)",type="([^"]+)".*\} (\S+)')
    for task, kind, count in pattern.findall(_read(f"{url}/metrics")):
        found[task, kind] += int(float(count))
    return found


async def test_flower_sees_every_run(organism_file: Path) -> None:
    """Sent, received, started, and how each ended; as often as the ledger says."""
    organism = load_organism(organism_file)
    with running_flower(organism_file) as url, running_worker(organism_file) as worker:
        async with StreamPump(organism) as pump:
            for name, state in (("fail", "FAILURE"), ("double", "SUCCESS")):
                asked = (pump.request(name, Task(n)) for n in range(RUNS))
                await asyncio.gather(*asked, return_exceptions=True)
                ended = (f"test.{name}", f"task-{'failed' if name == 'fail' else 'succeeded'}")
                assert await asyncio.to_thread(eventually, lambda: _events(url)[ended] >= RUNS)  # noqa: B023
                # The latest runs come first.
                page = await asyncio.to_thread(_seen, f"{url}/tasks")
                assert page.count(f"test.{name}") > 5
                assert page.count(state) > 5
                assert worker.node in page
        expected = Counter(
            {
                **{("test.double", f"task-{kind}"): RUNS for kind in ("sent", "succeeded")},
                **{("test.fail", f"task-{kind}"): 2 * RUNS for kind in ("sent", "failed")},
                **{
                    (f"test.{name}", f"task-{kind}"): count
                    for name, count in (("double", RUNS), ("fail", 2 * RUNS))
                    for kind in ("received", "started")
                },
            }
        )
        archive = Archive(organism.backend, codec_of(organism))
        counts = archive.counts()
        archive.close()
        # What one process could not take in time is sent again.
        again = counts.get("released", 0) + counts.get("published_again", 0)
        assert await asyncio.to_thread(eventually, lambda: _agree(_events(url), expected, again)), (
            _events(url)
        )
        assert counts["dispatched"] == counts["completed"] == 3 * RUNS
        assert counts["retries"] == RUNS


def _agree(
    seen: Counter[tuple[str, str]], expected: Counter[tuple[str, str]], sent_again: int
) -> bool:
    more = {key: seen[key] - expected[key] for key in {*seen, *expected}}
    sent = sum(count for (_, kind), count in more.items() if kind == "task-sent")
    others = [count for (_, kind), count in more.items() if kind != "task-sent"]
    return 0 <= sent <= sent_again and not any(others)


def _seen(url: str) -> str:
    """What a browser makes of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000"]
    done = subprocess.run(
        [require_chromium(), *options, "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout
