"""What a benchmark does about a contestant that breaks off."""

import json
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchmarks import __main__ as command
from benchmarks.measuring import Contestant, run_once
from benchmarks.processes import RunFailedError
from tests.fleet import is_alive

FAILING = """
import pathlib, subprocess, sys, tempfile
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1]).write_text(f"{child.pid} {tempfile.mkdtemp()}")
sys.exit("no figure today")
"""


def test_nothing_of_it_is_left(tmp_path: Path) -> None:
    """Neither a server that it started nor its temporary files; and its last words are told."""
    note = tmp_path / "note"
    with pytest.raises(RunFailedError, match="no figure today"):
        run_once(Contestant("failing", [sys.executable, "-c", FAILING, str(note)]))
    child, folder = note.read_text().split()
    assert not is_alive(int(child))
    assert not Path(folder).exists()


def test_other_scenarios_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run fails at its end, and no figure of an earlier run passes for one of this."""

    def fail(_rounds: int) -> NoReturn:
        raise RunFailedError("exit code 1")

    path = tmp_path / "results.json"
    path.write_text(json.dumps({"hops": {"results": [{"title": "old"}]}}))
    scenarios: dict[str, Any] = {"hops": fail, "audit": lambda _rounds: []}
    monkeypatch.setattr(command, "OTHERS", scenarios)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *scenarios, "--json", str(path)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert command.main() == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    kept = json.loads(path.read_text())
    assert set(kept) == set(scenarios)
    assert kept["hops"]["results"] == []
