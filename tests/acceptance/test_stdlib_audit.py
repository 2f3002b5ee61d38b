"""The example from outside: what it writes, what it says, how it ends."""

import json
import math
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.fleets import PUMP, environment, started
from tests.fleet import is_alive
from tests.servers import require_redis
from tests.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "stdlib_audit"
#: A real tree, small enough for a test: this interpreter's asyncio.
TREE = Path(sysconfig.get_path("stdlib")) / "asyncio"
#: What `make demo` puts before the example: a private Redis and two workers.
FLEET = [*PUMP, "up", str(EXAMPLE / "organism.yaml"), "--workers", "2", "--"]
#: Seconds within which an interrupt ends it, and those that a quiet machine takes to start it and
#: its fleet: one that takes longer to start it may take as much longer to end it.
ENDS_S, STARTS_S, FLEET_STARTS_S = 5.0, 0.7, 1.5
#: It may become busy in between, but hardly each time.
ATTEMPTS = 3


def command(out: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(EXAMPLE), "--out", str(out), *arguments]


class Stopwatch:
    """How soon an interrupt ends what a quiet machine starts within *usual_s* seconds."""

    def __init__(self, usual_s: float) -> None:
        self._usual_s, self._slowness = usual_s, 1.0
        self._since = time.monotonic()

    def has_started(self) -> None:
        self._slowness = max(1.0, self._lap() / self._usual_s)

    def seconds(self) -> float:
        """Since it had started, as a quiet machine would have counted them."""
        return self._lap() / self._slowness

    def _lap(self) -> float:
        since, self._since = self._since, time.monotonic()
        return self._since - since


def soonest(interrupt: Callable[[Path], float], tmp_path: Path) -> float:
    """The least seconds of some attempts, as few as will do."""
    least = math.inf
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        least = min(least, interrupt(folder))
        if least <= ENDS_S:
            break
    return least


def audit(
    out: Path, *arguments: str, before: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, *command(out, *arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment(**variables),
    )


def report_in(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())["report"]


def test_the_report_is_the_same_over_every_backend_and_without_a_pump(tmp_path: Path) -> None:
    """Memory, Manager, Celery workers over Redis, and one plain loop: equal but for timings."""
    require_redis()
    for backend in ("memory", "manager", "redis"):
        before = FLEET if backend == "redis" else ()
        done = audit(tmp_path / backend, "--root", str(TREE), before=before, BACKEND=backend)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Most complex functions" in done.stdout
        assert (tmp_path / backend / "report.html").read_text().startswith("<!doctype html>")
    script = (
        "import json, sys, msgspec; from audit.payloads import Tree;"
        "from audit.plain import audit_plainly;"
        "print(msgspec.json.encode(audit_plainly(Tree(sys.argv[1]))).decode())"
    )
    plain = subprocess.run(
        [sys.executable, "-c", script, str(TREE)],
        check=True,
        capture_output=True,
        text=True,
        cwd=EXAMPLE,
    )
    expected = json.loads(plain.stdout)
    assert expected["modules"] > 20
    for backend in ("memory", "manager", "redis"):
        assert report_in(tmp_path / backend) == expected


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """Exit 2, one line, nothing written."""
    done = audit(tmp_path / "out", "--root", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere is not a folder" in done.stderr
    assert not (tmp_path / "out").exists()


def _children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    direct = [int(line) for line in listed.stdout.split()]
    return [*direct, *(each for child in direct for each in _children(child))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_drains_and_leaves_no_process(tmp_path: Path, number: int) -> None:
    """Within 5 s, with exit 130, no traceback, and nothing left behind."""

    def interrupt(folder: Path) -> float:
        watch = Stopwatch(STARTS_S)
        running = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "--out", str(folder / "out")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Two pool processes beside their server and the resource tracker: it is at work.
        assert eventually(lambda: len(_children(running.pid)) >= 4, timeout_s=30)
        watch.has_started()
        children = _children(running.pid)
        # As a terminal does it: to the whole group at once.
        os.killpg(running.pid, number)
        _, errors = running.communicate(timeout=60)
        took_s = watch.seconds()
        assert running.returncode == 130
        assert errors == "stdlib_audit: interrupted\n"
        gone = [f"/proc/{pid}" for pid in children]
        assert eventually(lambda: not any(map(os.path.exists, gone)))
        return took_s

    assert soonest(interrupt, tmp_path) <= ENDS_S


def _is_audit_at_work(session: Sequence[int]) -> bool:
    """Is the audit among these processes, and past its imports? Then it catches SIGTERM."""
    for pid in session:
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            status = Path(f"/proc/{pid}/status").read_text().split()
            caught = int(status[status.index("SigCgt:") + 1], 16)
            if words[1:2] == [os.fsencode(EXAMPLE)] and caught & 1 << signal.SIGTERM - 1:
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_fleet_as_well(tmp_path: Path, number: int) -> None:
    """Within 5 s, with exit 130 and no traceback; no process is left, and no folder."""
    require_redis()

    def interrupt(folder: Path) -> float:
        variables: dict[str, Any] = {"BACKEND": "redis", "TMPDIR": str(folder)}
        # `stands` asks for it.
        variables["PYTHONFAULTHANDLER"] = "1"
        words = [*FLEET[len(PUMP) :], *command(folder / "out")]
        watch = Stopwatch(FLEET_STARTS_S)
        with started(folder, *words, **variables) as demo:
            # Redis, two workers with a process each, the audit, and `up` itself.
            assert eventually(lambda: len(demo.session()) >= 7, timeout_s=60), demo.log
            assert eventually(lambda: _is_audit_at_work(demo.session())), demo.log
            watch.has_started()
            everything = demo.session()
            os.killpg(demo.process.pid, number)
            assert eventually(lambda: demo.process.poll() is not None, timeout_s=60), demo.stands()
            took_s = watch.seconds()
            assert demo.process.returncode == 130, demo.log
            assert demo.log == "stdlib_audit: interrupted\n"
            assert eventually(lambda: not any(map(is_alive, everything)))
            assert list(folder.glob("pump-*")) == []
        return took_s

    assert soonest(interrupt, tmp_path) <= ENDS_S
