"""A Redis that one measurement has to itself: on loopback, keeping nothing on disk."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from pipeline.cli.servers import server_program

#: Seconds a server may take to start, on a busy machine.
_START_S = 20.0
#: Somebody may take a port that was free a moment ago.
_ATTEMPTS = 3


class PrivateRedis:
    """A running server, and what it tells of itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = redis.Redis.from_url(url, socket_timeout=60)

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU it has used, all its threads."""
        found = self.client.info("cpu")
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])

    @property
    def used_bytes(self) -> int:
        """What its data and its own structures take now."""
        return int(self.client.info("memory")["used_memory"])


@contextmanager
def private_redis() -> Iterator[PrivateRedis]:
    """Start one, and end it by its process id, whatever happens.

    Raises:
        RuntimeError: it does not start.
    """
    folder = tempfile.mkdtemp(prefix="pump-bench-redis-")
    process = None
    try:
        for _ in range(_ATTEMPTS):
            url, process = _start(folder)
            server = PrivateRedis(url)
            if _answers(server, process):
                break
            _end(process)
        else:
            raise RuntimeError("the Redis server did not start")
        yield server
        server.client.close()
    finally:
        if process is not None:
            _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str) -> tuple[str, "subprocess.Popen[bytes]"]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    with Path(folder, "log").open("wb") as log:
        process = subprocess.Popen([server_program(), *words], stdout=log, stderr=log)
    return f"redis://127.0.0.1:{port}/0", process


def _answers(server: PrivateRedis, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return bool(server.client.ping())
        except redis.RedisError:
            time.sleep(0.02)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
