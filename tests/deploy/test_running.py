"""What the files of `deploy/` start, started by their own words."""

import base64
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from tests.acceptance.consoles import Visitor, visitor_of
from tests.acceptance.fleets import PUMP, environment, pump, started, write_sums
from tests.deploy.files import DEPLOY, FILLED, UNITS, composed, unit, unit_environment
from tests.deploy.probing import READY
from tests.scraping import scraped
from tests.servers import RedisServer, free_port, require_redis
from tests.waiting import eventually

LONG_S = 60.0
#: Of the keys that the compose file's users may touch.
PREFIX = "stdlib-audit:"


@pytest.fixture
def composed_redis(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis started by the compose file's own command, in folders of the test's."""
    service = composed()["services"]["redis"]
    shell, flags, script = service["command"]
    port = free_port()
    places = {"/etc/redis": DEPLOY / "redis", "/run/redis": tmp_path / "run", "/data": tmp_path}
    (tmp_path / "run").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(require_redis())
    for place, path in places.items():
        script = script.replace(place, str(path))
    # Last, so that they win: what a container has to itself.
    own = (
        f"printf 'port {port}\\nbind 127.0.0.1\\ndir {tmp_path}\\n' >> {tmp_path}/run/redis.conf\n"
    )
    script = script.replace("exec redis-server", f"{own}exec redis-server")
    process = subprocess.Popen(
        [shell, flags, script],
        env=environment(
            **service["environment"],
            PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        ),
        stdout=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: _answers(url_of("monitor", port))), process.poll()
        yield port
    finally:
        process.terminate()
        process.wait(LONG_S)


def url_of(user: str, port: int) -> str:
    """As the compose file has it, but on loopback."""
    return f"redis://{user}:{FILLED[f'REDIS_{user.upper()}_PASSWORD']}@127.0.0.1:{port}/0"


def _answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def test_redis_is_as_the_organism_wants_it(composed_redis: int, tmp_path: Path) -> None:
    """`pump check` misses nothing; nobody gets in without a password, nobody reads one."""
    write_sums(tmp_path / "o", url_of("admin", composed_redis), PREFIX)
    done = pump(tmp_path / "o", "check", "organism.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout + done.stderr
    for url in (
        url_of("pump", composed_redis).replace(FILLED["REDIS_PUMP_PASSWORD"], "no"),
        f"redis://127.0.0.1:{composed_redis}/0",
    ):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
    for name in ("redis.conf", "users.acl"):
        file = tmp_path / "run" / name
        assert file.stat().st_mode & 0o077 == 0
        assert not any(password in file.read_text() for password in FILLED.values())
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_bytes()
            assert b"redis-server" not in words or b"r3d1s" not in words


def test_a_fleet_with_the_users_of_the_compose_file(composed_redis: int, tmp_path: Path) -> None:
    """Pump and worker each as its own, metrics and all; Redis refuses nothing that they need."""
    write_sums(tmp_path / "o", f"redis://${{WHO}}@127.0.0.1:{composed_redis}/0", PREFIX)
    who = {
        user: url_of(user, composed_redis).partition("//")[2].partition("@")[0]
        for user in ("pump", "worker", "admin")
    }
    with scraped(
        tmp_path / "o", "run", "worker", variables={"run": who["pump"], "worker": who["worker"]}
    ) as (runs, works):
        done = pump(tmp_path / "o", "send", "organism.yaml", "squares", '{"n":4}', WHO=who["pump"])
        assert done.stdout == '{"n":14}\n', done.stderr
        assert runs.scrape().value("fleet_completions_total") == 4
        assert works.scrape().value("redis_up") == 1
        _look_by_console(tmp_path / "o", who["pump"])
    with redis.Redis.from_url(url_of("admin", composed_redis)) as admin:
        refused = {row["object"] for row in admin.acl_log()}
    # redis-py introduces itself.
    assert refused <= {"client|setinfo", "client|maint_notifications"}


def _look_by_console(folder: Path, who: str) -> None:
    """The compose file's own command asks for its token, and Redis as the user it is there."""
    service = composed()["services"]["console"]
    token = service["environment"]["PUMP_CONSOLE_TOKEN"]
    assert service["environment"]["REDIS_URL"].startswith(f"redis://{who}@")
    words = [{"0.0.0.0": "127.0.0.1"}.get(word, word) for word in service["command"]]  # noqa: S104
    given = {"ORGANISM": "organism.yaml", "PUMP_CONSOLE_TOKEN": token, "WHO": who}
    with started(folder, *words, "--port", "0", **given) as command:
        assert command.says("Ctrl-C ends it"), command.log
        visitor = visitor_of(command, token)
        assert Visitor(visitor.url).ask("/api/letters")[0] == 401
        told = visitor.sections({"standing", "pumps", "workers"})
        assert told["standing"]["counts"]["completed"] == 4
        (row,) = visitor.get("conversations")["rows"]
        assert len(visitor.get("conversation", id=row["id"])["runs"]) == row["hops"]
        assert visitor.get("underway") == visitor.get("letters")["rows"] == []
        assert _status(f"{visitor.url}/") == 200


def test_units_start_what_they_say(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """Their own commands and environment run a fleet; SIGTERM to the main process ends each."""
    organism = write_sums(tmp_path / "o", redis_server.url, redis_prefix)
    own = {"ORGANISM": str(organism), "REDIS_URL": redis_server.url}
    with ExitStack() as stack:
        commands = {}
        for path in UNITS:
            # Which instance it is; and ports that nobody has here.
            command_line = unit(path)["ExecStart"].replace("946%i", "9461")
            program, *words = shlex.split(command_line)
            words[words.index("--metrics-port") + 1] = str(free_port())
            assert program == "/opt/celery-pump/bin/pump"
            given = unit_environment(path) | own
            starting = started(tmp_path / "o", *words, program=PUMP, **given)
            commands[path] = command = stack.enter_context(starting)
            assert command.says(READY[words[0]]), command.log
        done = pump(tmp_path / "o", "send", "organism.yaml", "squares", '{"n":4}')
        assert done.stdout == '{"n":14}\n', done.stderr
        for path, command in commands.items():
            assert unit(path)["KillMode"] == "mixed"
            command.process.send_signal(signal.SIGTERM)
            assert command.process.wait(float(unit(path)["TimeoutStopSec"])) == 0
            assert not command.session()


def test_flower_asks_for_a_password(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """Whoever has none sees that it is there, and nothing else."""
    organism = write_sums(tmp_path / "o", redis_server.url, redis_prefix)
    service = composed()["services"]["flower"]
    words = [*service["entrypoint"], *service["command"]]
    port = free_port()
    replaced = {"--port=5555": f"--port={port}", "--address=0.0.0.0": "--address=127.0.0.1"}
    program, *options = [replaced.get(word, word) for word in words[words.index("--") + 1 :]]
    auth = service["environment"]["FLOWER_BASIC_AUTH"]
    url = f"http://127.0.0.1:{port}"
    with started(
        tmp_path / "o",
        *options,
        program=[sys.executable, "-m", program],
        ORGANISM=str(organism),
        FLOWER_BASIC_AUTH=auth,
    ) as command:
        assert eventually(lambda: _status(f"{url}/healthcheck") == 200, timeout_s=LONG_S), (
            command.log
        )
        assert _status(f"{url}/workers") == 401
        assert _status(f"{url}/workers", auth) == 200
        assert auth.partition(":")[2] not in command.log


def _status(url: str, auth: str = "") -> int:
    """What HTTP says; 0 where nobody listens."""
    request = urllib.request.Request(url)  # noqa: S310 - our own, on loopback
    if auth:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code
    except OSError:
        return 0
