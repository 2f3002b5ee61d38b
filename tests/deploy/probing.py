"""Heartbeat files as a probe sees them, and processes to be probed."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.acceptance.fleets import Command, started, write_sums

DEPLOY = Path(__file__).parents[2] / "deploy"
ALIVE = DEPLOY / "image" / "alive"
#: What a process says once it runs.
READY = {"run": "Ctrl-C ends it", "worker": " ready."}

#: Holds the event loop it runs on.
HANG = """

async def hang(payload, metadata):
    time.sleep(3600)
"""
#: Lets a signal hang the main thread, as a deadlock would.
HANG_MAIN = """
import signal, threading
signal.signal(signal.SIGUSR2, lambda *_: threading.Lock().acquire() and threading.Event().wait())
"""


@dataclass
class Probed:
    """A pump or a worker, with a heartbeat file."""

    command: Command
    heartbeat: Path

    def alive(self, within_s: int = 30) -> bool:
        """What the probe says."""
        probe = [str(ALIVE), str(self.heartbeat), str(within_s)]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def is_ready(self, kind: str) -> bool:
        return self.command.says(READY[kind])

    def tell(self, number: signal.Signals) -> None:
        self.command.process.send_signal(number)


@contextmanager
def probed(kind: str, folder: Path, **variables: str) -> Iterator[Probed]:
    """`pump run` or `pump worker`, started and not awaited."""
    heartbeat = folder / f"{kind}.alive"
    option = ("--heartbeat-file", str(heartbeat))
    with started(folder, kind, "organism.yaml", *option, program=None, **variables) as command:
        yield Probed(command, heartbeat)


def write_hangable(folder: Path, url: str, prefix: str) -> Path:
    """An organism with a handler that hangs its pump, and a hook that hangs a worker."""
    path = write_sums(folder, url, prefix)
    with (folder / "sums.py").open("a") as handlers:
        handlers.write(HANG)
    organism = yaml.safe_load(path.read_text())
    hang = {"name": "hang", "payload_class": "sums.Number", "handler": "sums.hang"}
    organism["listeners"].append(hang)
    path.write_text(yaml.safe_dump(organism))
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HANG_MAIN)
    return path


def holds_for(condition: Callable[[], bool], seconds: float) -> bool:
    """False as soon as *condition* does not hold; true if it held all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.2)
    return True
