"""Secrets planted in a full run are nowhere in what it writes, shows or tells other processes."""

import base64
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import pytest
import redis

from tests.acceptance.fleets import Command, environment, pump, started, write_sums
from tests.fleet import LEASE_S
from tests.servers import RedisServer, free_port, running_redis
from tests.waiting import eventually

pytest.importorskip("flower")


#: 127.0.0.1, as /proc/net/tcp has it.
LOOPBACK = "0100007F"


class Secrets(NamedTuple):
    """Each is long enough to be found by chance nowhere."""

    redis_password: str
    signing_key: str
    flower_password: str
    #: The number in each message; whoever may not read payloads must not see it.
    payload: str

    def found_in(self, text: bytes) -> list[str]:
        return [
            name
            for name, secret in self._asdict().items()
            for form in _forms(secret)
            if form in text
        ]


def _forms(secret: str) -> list[bytes]:
    raw = secret.encode()
    return [raw, base64.b64encode(raw).rstrip(b"=")[:-1], raw.hex().encode()]


class Titles:
    """What every process on this machine shows of its command line, looked at again and again."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._is_over = threading.Event()
        self.leaks: set[str] = set()
        self.looks = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    title = path.read_bytes()
                    leaks = self._secrets.found_in(title)
                    self.leaks |= {f"{name} in {title!r}" for name in leaks}
            self.looks += 1


@pytest.fixture
def secrets() -> Secrets:
    number = str(10**17 + int(token_hex(6), 16))
    return Secrets(token_hex(12), token_hex(24), token_hex(12), number)


@pytest.fixture
def server(secrets: Secrets) -> Iterator[RedisServer]:
    # Its own title must not be what shows the password.
    with running_redis() as server:
        client = server.client()
        client.config_set("requirepass", secrets.redis_password)
        client.close()
        yield server


@pytest.fixture
def folder(tmp_path: Path, server: RedisServer, secrets: Secrets) -> Path:
    """The organism; the secrets are in the environment, as they should be."""
    signed = {"signing_key": "${PUMP_SIGNING_KEY}"}
    celery = {"max_attempts": 1, "lease_s": LEASE_S}
    write_sums(tmp_path, "${REDIS_URL}", "xp:", serialization=signed, celery=celery)
    listeners = ("square", "picky", "deadly", "silent", "nobody")
    lines = f'{{"n": {secrets.payload}}}\n' * 3 + f'{{"n": "{secrets.payload}"}}\n'
    for name in listeners:
        (tmp_path / f"{name}.input").write_text(lines)
    return tmp_path


def variables(server: RedisServer, secrets: Secrets) -> dict[str, Any]:
    return {
        "REDIS_URL": f"redis://:{secrets.redis_password}@127.0.0.1:{server.port}/0",
        "PUMP_SIGNING_KEY": secrets.signing_key,
        "FLOWER_BASIC_AUTH": f"watcher:{secrets.flower_password}",
        "FLOWER_UNAUTHENTICATED_API": "true",
    }


def celery(folder: Path, variables: dict[str, Any], *words: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", *words],
        cwd=folder,
        env=environment(**variables, ORGANISM=str(folder / "organism.yaml")),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def everything_said(folder: Path, variables: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """What our commands and Celery's say, in good and bad luck."""
    for name in ("square", "picky", "deadly", "silent", "nobody"):
        yield name, _said(folder, variables, "run", "--to", name, "--input", f"{name}.input")
    for words in (
        *(["threads"], ["threads", "--json"], ["check"], ["check", "--json"]),
        *(["dead-letters", "list"], ["dead-letters", "list", "--json"]),
    ):
        yield " ".join(words), _said(folder, variables, *words)
    for line in pump(folder, "threads", "--limit", "4", **variables).stdout.splitlines():
        thread = line.split()[0]
        yield "trace", _said(folder, variables, "trace", thread)
        yield "trace", _said(folder, variables, "trace", thread, "--json")
    for line in pump(folder, "dead-letters", "list", **variables).stdout.splitlines():
        yield "show", _said(folder, variables, "dead-letters", "show", line.split()[0])
    url = variables["REDIS_URL"]
    for bad in (
        url.replace(":", ":x", 2),
        url.replace("127.0.0.1", "127.0.0.1:port"),
        f"redis://:{url.split(':')[2].split('@')[0]}@127.0.0.1:{free_port()}/0",
        url.replace("/0", "/zero"),
    ):
        yield "bad url", _said(folder, variables | {"REDIS_URL": bad}, "check")
    for inspection in (["inspect", "conf"], ["inspect", "stats"], ["report"]):
        yield " ".join(inspection), celery(folder, variables, *inspection)


def _said(folder: Path, variables: dict[str, Any], *words: str) -> bytes:
    done = pump(folder, *words, timeout_s=90, **variables)
    return (done.stdout + done.stderr).encode()


def flower_link(up: Command) -> str:
    assert up.says("http://127.0.0.1:"), up.log
    lines = [line for line in up.log.splitlines() if line.startswith("flower ")]
    (line,) = [line for line in lines if "http://" in line]
    return line.split()[-1]


def opened(link: str, account: str = "", method: str = "GET") -> tuple[int, bytes]:
    """Status and body; 0 while nobody answers."""
    headers = {"Authorization": f"Basic {base64.b64encode(account.encode()).decode()}"}
    request = urllib.request.Request(link, headers=headers if account else {}, method=method)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def shown_by_flower(link: str, account: str) -> Iterator[tuple[str, bytes]]:
    for page in ("/workers?json=1", "/api/workers?refresh=1", "/api/tasks", "/tasks", "/broker"):
        yield page, opened(link + page, account)[1]
    nodes = [each for each in opened(f"{link}/api/workers", account)[1].split(b'"') if b"@" in each]
    assert nodes
    for node in nodes:
        yield "/worker", opened(f"{link}/worker/{node.decode()}", account)[1]


@pytest.mark.timeout(400)
def test_a_full_run_tells_no_secret(folder: Path, server: RedisServer, secrets: Secrets) -> None:
    """Not in a log, an error, a file, a dead letter, a trace, a process title, or Flower."""
    titles, leaks = Titles(secrets), []
    known = variables(server, secrets)
    account = known["FLOWER_BASIC_AUTH"]
    with titles.watched(), started(folder, "up", "organism.yaml", **known) as up:
        assert up.says("Ctrl-C ends it"), up.log
        link = flower_link(up)
        assert eventually(lambda: opened(link)[0] == 401, timeout_s=60), up.log
        assert eventually(lambda: up.log.count(" ready.") >= 2, timeout_s=60), up.log
        for what, said in everything_said(folder, known):
            leaks += [f"{name}: {what}: {said!r}" for name in secrets.found_in(said)]
        assert opened(link, "watcher:wrong")[0] == 401
        for page, shown in shown_by_flower(link, account):
            leaks += [f"{name}: flower {page}" for name in secrets.found_in(shown)]
        os.kill(up.process.pid, signal.SIGINT)
        assert up.process.wait(60) == 0
    leaks += sorted(titles.leaks)
    assert titles.looks > 20
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".input", ".pyc"):
            leaks += [f"{name}: {path.name}" for name in secrets.found_in(path.read_bytes())]
    assert not leaks, "\n".join(leaks)
    with server.client(secrets.redis_password) as admin:
        assert admin.hlen("xp:l:letters") == 3
        assert int(admin.hget("xp:l:counts", "hops") or 0) >= 9


def listens_on(port: int) -> set[str]:
    """The addresses, as the kernel writes them, where somebody listens on *port*."""
    lines = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    ends = [words[1].split(":") for words in lines if words[3] == "0A"]
    return {address for address, number in ends if int(number, 16) == port}


def test_everything_of_pump_up_is_on_loopback(tmp_path: Path) -> None:
    """Its Redis behind a password that only its user can read, its Flower read-only."""
    write_sums(tmp_path, "${REDIS_URL}", "xp:")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    more: dict[str, Any] = {"FLOWER_UNAUTHENTICATED_API": "true", "TMPDIR": str(temporary)}
    with started(tmp_path, "up", "organism.yaml", "--workers", "1", **more) as up:
        assert up.says(" ready."), up.log
        link = flower_link(up)
        assert eventually(lambda: opened(link)[0] == 200, timeout_s=60), up.log
        check_redis_is_private(temporary, up)
        assert listens_on(int(link.rpartition(":")[2])) == {LOOPBACK}
        node = up.log.partition("MainProcess] ")[2].partition(" ready")[0].split()[-1]
        assert "@" in node
        for action in ("shutdown", "pool/restart", "pool/grow", "queue/cancel-consumer"):
            assert opened(f"{link}/api/worker/{action}/{node}", method="POST")[0] == 401
        assert opened(f"{link}/api/workers")[0] == 401
        assert up.process.poll() is None


def check_redis_is_private(temporary: Path, up: Command) -> None:
    (folder,) = temporary.glob("pump-redis-*")
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    (url,) = re.findall(r"REDIS_URL=(\S+)", (folder / "environment").read_text())
    password, port = re.findall(r":(\w+)@127\.0\.0\.1:(\d+)", url)[0]
    assert len(password) == 32
    assert listens_on(int(port)) == {LOOPBACK}
    assert password not in up.log
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            assert password.encode() not in path.read_bytes()
    for guess in ("", ":@", f":{password[:-1]}@"):
        stranger = redis.Redis.from_url(f"redis://{guess}127.0.0.1:{port}/0")
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        stranger.close()


def test_a_server_that_quotes_its_clients(tmp_path: Path, secrets: Secrets) -> None:
    """One that lacks a command repeats it with its arguments, and HELLO carries the password."""
    config = tmp_path / "redis.conf"
    config.write_text(f'rename-command HELLO ""\nrequirepass {secrets.redis_password}\n')
    with running_redis("--include", str(config)) as server:
        url = variables(server, secrets)["REDIS_URL"]
        folder = tmp_path / "organism"
        write_sums(folder, "${REDIS_URL}", "xp:")
        for words, query in (
            (["threads"], ""),
            (["run", "organism.yaml"], ""),
            (["worker", "organism.yaml"], ""),
            # Ours can do without it, Celery can't.
            (["worker", "organism.yaml"], "?protocol=2"),
        ):
            done = pump(folder, *words, REDIS_URL=url + query)
            assert done.returncode == 1
            assert not secrets.found_in((done.stdout + done.stderr).encode())
            assert "unknown command 'HELLO'" in done.stderr
        assert pump(folder, "threads", REDIS_URL=f"{url}?protocol=2").returncode == 0
