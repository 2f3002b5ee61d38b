"""`make races-planted`: plants one fault after the other in the scripts; the races must find each.

A model that cannot fail proves nothing. Each fault is a small change of one script, raced in a
process and against a Redis of its own until the model says what is wrong. Before them the same
races, to their end, without any.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from hypothesis import Phase

from backends.redis import scripts
from tests.machines import run_machine
from tests.races.faults import CONTROL, FAULTS, Fault
from tests.races.machine import Races
from tests.servers import running_redis

#: Seconds in which a fault is to be found, the server's start and the finding's replay included.
LIMIT_S = 60.0
#: Those in which races without a fault come to their end.
CONTROL_LIMIT_S = 600.0
EXAMPLES, STEPS = 400, 40
_SCRIPTS = Path(scripts.__file__).parent / "scripts"
_ROOT = Path(__file__).parents[2]


class Verdict(NamedTuple):
    """What came of one fault."""

    is_found: bool
    text: str


def planted_text(fault: Fault) -> str:
    """The script with its fault.

    Raises:
        ValueError: what is to be replaced is not there exactly once.
    """
    text = (_SCRIPTS / f"{fault.script}.lua").read_text()
    found = text.count(fault.old)
    if found != 1:
        raise ValueError(f"{fault.name}: {fault.script}.lua has {found} times {fault.old!r}")
    return text.replace(fault.old, fault.new)


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Every script this process loads from now on has the fault."""
    text = planted_text(fault)
    with tempfile.TemporaryDirectory(prefix="pump-planted-") as folder:
        shutil.copytree(_SCRIPTS, Path(folder) / "scripts")
        (Path(folder) / "scripts" / f"{fault.script}.lua").write_text(text)
        with patch.object(scripts, "files", lambda _: Path(folder)):
            yield


class Planted(Races):
    """Races that remember how far they had come before the last of them began."""

    patience_s = 5.0
    steps_before = 0

    def __init__(self) -> None:
        Planted.steps_before = self.ran.total()
        super().__init__()


def race(fault: Fault) -> Verdict:
    """Race with *fault* until something is wrong. Once in a process: scripts are cached."""
    logging.disable(logging.CRITICAL)
    with planted(fault), running_redis() as server:
        machine = type("Machine", (Planted,), {"url": server.url})
        try:
            run_machine(
                machine,
                examples=EXAMPLES,
                steps=STEPS,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                print_blob=False,
            )
        except Exception as exc:  # noqa: BLE001 - whatever it is, it was found
            # The last race but shows again what went wrong in the one before.
            return Verdict(True, f"found after {Planted.steps_before} steps: {said(exc)}")
    return Verdict(False, f"NOT FOUND in {Planted.ran.total()} steps")


def said(exc: BaseException) -> str:
    """Which promise was broken: the line that failed, and what it had to say."""
    ours = _frames(exc)
    # What goes wrong first may have more go wrong at the race's end.
    while exc.__context__ is not None and _frames(exc.__context__):
        exc = exc.__context__
        ours = _frames(exc)
    where = f"{ours[-1].name}: {ours[-1].line}" if ours else ""
    text = " ".join(str(exc).split())[:120]
    return f"{where} [{type(exc).__name__}{': ' if text else ''}{text}]"


def _frames(exc: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(exc.__traceback__)
    return [frame for frame in frames if "/tests/races/" in frame.filename]


def race_apart(fault: Fault, limit_s: float = LIMIT_S) -> Verdict:
    """The same in another process, for no longer than *limit_s*."""
    command = [sys.executable, "-m", "tests.races.planted", fault.name]
    with subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            # It ends its server, as after any interrupt.
            process.terminate()
            process.communicate()
            return Verdict(False, f"NOT FOUND in {limit_s:.0f} s")
    lines = [line for line in out.splitlines() if line.startswith(("found", "NOT FOUND"))]
    last = (err.splitlines() or [""])[-1]
    return Verdict(
        bool(lines) and process.returncode == 0,
        lines[-1] if lines else f"NOT FOUND: it ended with {process.returncode}: {last}",
    )


def main(names: list[str]) -> int:
    """Race with every fault, or in this very process with the one that is named."""
    by_name = {fault.name: fault for fault in (CONTROL, *FAULTS)}
    if names:
        verdict = race(by_name[names[0]])
        sys.stdout.write(f"{verdict.text}\n")
        return 0 if verdict.is_found else 1
    for fault in FAULTS:
        planted_text(fault)
    control = race_apart(CONTROL, CONTROL_LIMIT_S)
    sys.stdout.write(f"without any fault: {control.text}\n")
    if control.is_found:
        return 1
    started = time.monotonic()
    missed = [fault.name for fault in FAULTS if not _is_found(fault)]
    took = time.monotonic() - started
    sys.stdout.write(f"{len(FAULTS) - len(missed)} of {len(FAULTS)} faults found, {took:.0f} s\n")
    return 1 if missed else 0


def _is_found(fault: Fault) -> bool:
    """Say what came of it."""
    began = time.monotonic()
    verdict = race_apart(fault)
    took = time.monotonic() - began
    sys.stdout.write(f"{fault.name:<34} {took:3.0f} s  {verdict.text}\n")
    sys.stdout.flush()
    return verdict.is_found


if __name__ == "__main__":
    import signal

    # So that a server that was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(sys.argv[1:]))
