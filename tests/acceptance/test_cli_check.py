"""`pump check`, from outside."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PUMP = [sys.executable, "-m", "pipeline.cli.main"]

HANDLERS = """
from dataclasses import dataclass

@dataclass
class Module:
    source: str

async def audit(payload, metadata): ...
def analyze(payload, metadata): ...
"""

ORGANISM = """
organism: {name: stdlib-audit}
listeners:
  - name: analyzer
    payload_class: code.Module
    handler: code.analyze
    cpu_bound: true
    timeout_s: 30
    retries: 2
  - {name: auditor, payload_class: code.Module, handler: code.audit, agent: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An organism whose module also shadows one of the standard library's."""
    (tmp_path / "code.py").write_text(HANDLERS)
    (tmp_path / "organism.yaml").write_text(ORGANISM)
    return tmp_path


def check(folder: Path, *args: str, organism: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PUMP, "check", *args],
        cwd=folder,
        env={**os.environ, "ORGANISM": organism},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_listeners_are_plain_lines_in_a_pipe(folder: Path) -> None:
    """A line a listener, fields between tabs, nothing else."""
    done = check(folder, "organism.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "analyzer\thandler\tcode.Module\tprocess_pool\t30 s\t2",
        "auditor\tagent\tcode.Module\tinline\t-\t0",
    ]


def test_listeners_as_json(folder: Path) -> None:
    """One object, for programs."""
    done = check(folder, "organism.yaml", "--json")
    summary = json.loads(done.stdout)
    assert (summary["organism"], summary["backend"]) == ("stdlib-audit", "memory")
    assert summary["listeners"][0] == {
        "name": "analyzer",
        "kind": "handler",
        "payload": "code.Module",
        "runs": "process_pool",
        "timeout_s": 30.0,
        "retries": 2,
    }


def test_a_table_fits_a_terminal(folder: Path) -> None:
    """At 80 columns, with a long name, no line is wider."""
    long = "a" * 60
    (folder / "organism.yaml").write_text(ORGANISM.replace("auditor", long))
    reader, writer = pty.openpty()
    try:
        subprocess.run(
            [*PUMP, "check", "organism.yaml"],
            cwd=folder,
            env={**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"},
            stdout=writer,
            timeout=60,
            check=True,
        )
        lines = os.read(reader, 65536).decode().splitlines()
    finally:
        os.close(writer)
        os.close(reader)
    assert lines[0] == "stdlib-audit on memory, 2 listeners"
    assert lines[2].split() == ["Listener", "Kind", "Payload", "Runs", "in", "Timeout", "Retries"]
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "No mistakes found."


def test_mistakes_go_to_stderr(folder: Path) -> None:
    """Exit 2, a line each, no traceback, nothing on stdout."""
    text = ORGANISM.replace("cpu_bound: true", 'cpu_bound: "yes please"').replace(
        "retries", "retry"
    )
    (folder / "organism.yaml").write_text(text)
    done = check(folder, "organism.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert lines[0] == 'organism.yaml:7: listeners[0].cpu_bound: expected bool, got "yes please"'
    assert lines[1].startswith('organism.yaml:9: listeners[0]: unknown key "retry"')
    assert len(lines) == 2


def test_what_is_ignored_is_a_warning(folder: Path) -> None:
    """It fails nothing."""
    (folder / "organism.yaml").write_text(f"llm: {{}}{ORGANISM}")
    done = check(folder)
    assert done.returncode == 0
    assert done.stderr == (
        "warning: organism.yaml:1: llm: ignored; it belongs to another subsystem\n"
    )


def test_redis_durability_is_told(folder: Path) -> None:
    """What a restart may lose is a fact of the server, so `check` says it."""
    (folder / "organism.yaml").write_text(
        f"backend: {{type: redis, redis_url: 'redis://127.0.0.1:1'}}{ORGANISM}"
    )
    done = check(folder, "--json")
    assert json.loads(done.stdout)["listeners"][0]["runs"] == "celery"
    assert "appendfsync always" in done.stderr


def test_where_the_organism_is_found(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """FILE goes before --file, that before $ORGANISM, that before ./organism.yaml."""
    file, nowhere = str(folder / "organism.yaml"), tmp_path_factory.mktemp("nowhere")
    assert check(nowhere, file, "--file", "b", organism="c").returncode == 0
    assert check(nowhere, "--file", file, organism="c").returncode == 0
    assert check(nowhere, organism=file).returncode == 0
    assert check(folder).returncode == 0
    assert check(folder, "a", "--file", "b", organism="c").stderr == "a: no such file\n"
    assert check(folder, "--file", "b", organism="c").stderr == "b: no such file\n"
    assert check(folder, organism="c").stderr == "c: no such file\n"
    lost = check(nowhere)
    assert lost.returncode == 2
    assert lost.stderr.startswith("pump check: which organism? Name its file")


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["check", "--nope"], "pump check: No such option '--nope'.\n"),
        (["chek"], "pump: No such command 'chek'. Did you mean 'check'?\n"),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, args: list[str], error: str) -> None:
    """One line says what is wrong."""
    done = subprocess.run(
        [*PUMP, *args], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", error)


def test_help_is_asked_for_or_shown(tmp_path: Path) -> None:
    """On request it is output; without a command it is an error's explanation."""
    asked, bare = (
        subprocess.run(
            [*PUMP, *args], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        for args in (["--help"], [])
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert "check" in asked.stdout
    assert "check" in bare.stderr
