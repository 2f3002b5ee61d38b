"""Real Celery workers for tests: started on an organism's file, awaited, ended by process id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from celery import Celery

from pipeline.organism_file import load_organism
from tasks.application import create_app
from tests.servers import ACCOUNT, account, url_of_account
from tests.waiting import eventually

#: Seconds a worker may take to import everything and connect, on a busy machine.
_START_TIMEOUT_S = 60.0
#: Short, so that tests of the dead need not wait for long.
LEASE_S = 2.0
#: What is promised of kills, outages and copies is shown of signed records.
SIGNING_KEY = "a key for tests"


def write_organism(
    path: Path,
    url: str,
    prefix: str,
    listeners: Sequence[Mapping[str, Any]],
    **sections: Mapping[str, Any],
) -> Path:
    """An organism over Redis; a section's settings replace the tests' own."""
    organism: dict[str, Any] = {
        "organism": {"name": "test"},
        "backend": {"type": "redis", "redis_url": url_of_account(url), "redis_prefix": prefix},
        "process_pool": {"workers": 2},
        "serialization": {"signing_key": SIGNING_KEY},
        "celery": {"lease_s": LEASE_S},
        "listeners": [dict(each) for each in listeners],
    }
    for name, settings in sections.items():
        organism[name] = {**organism.get(name, {}), **settings}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(organism))
    return path


@dataclass
class Worker:
    """A running worker."""

    process: subprocess.Popen[bytes]
    node: str
    log_path: Path

    @property
    def pid(self) -> int:
        """Of the main process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(errors="replace")

    def children(self) -> list[int]:
        """The processes of its pool."""
        tasks = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError):
            return [int(pid) for pid in tasks.read_text().split()]
        return []

    def stop(self, timeout_s: float = 30.0) -> int:
        """Tell it to stop, and wait; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End its main process at once."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_worker(
    organism: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    """A worker by Celery's own command, ready to run; killed at the end if it still runs."""
    worker = start_worker(organism, *options, environment=environment)
    try:
        assert eventually(lambda: _is_decided(worker), timeout_s=_START_TIMEOUT_S), worker.log
        assert worker.process.poll() is None, worker.log
        yield worker
    finally:
        children = worker.children()
        with suppress(subprocess.TimeoutExpired):
            if worker.process.poll() is None:
                worker.stop(10)
        worker.kill()
        assert eventually(lambda: not any(map(is_alive, children)))


def start_worker(
    organism: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    app: str = "tasks",
) -> Worker:
    """The same, neither awaited nor ended."""
    node = f"w{uuid4().hex[:8]}@test-{uuid4().hex[:8]}"
    log_path = organism.with_name(f"{node}.log")
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-Q", "cpu"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "-n", node, "-l", "INFO", *options],
            cwd=organism.parent,
            env={
                **os.environ,
                "ORGANISM": str(organism),
                ACCOUNT: account("worker"),
                **(environment or {}),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Worker(process, node, log_path)


def app_as(user: str, organism: Path) -> Celery:
    """The organism's application as one of the users of `deploy/redis/users.acl` has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ACCOUNT, account(user))
        return create_app(load_organism(organism))


def is_alive(pid: int) -> bool:
    """True while there is such a process, and it is no zombie."""
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def _is_decided(worker: Worker) -> bool:
    return worker.process.poll() is not None or f"{worker.node} ready" in worker.log
