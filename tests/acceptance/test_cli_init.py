"""`pump init`, from outside."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def pump(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_it_creates_is_sound(tmp_path: Path) -> None:
    """`pump check` accepts it; one of its two listeners is cpu_bound."""
    assert pump(tmp_path, "init", "my-first").returncode == 0
    done = pump(tmp_path / "my-first", "check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert summary["organism"] == "my-first"
    assert [each["runs"] for each in summary["listeners"]] == ["inline", "process_pool"]


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    """The command it prints names files it created."""
    done = pump(tmp_path, "init", "demo")
    assert "  pump run organism.yaml --to primes --input input.jsonl --output -\n" in done.stdout
    created = {path.name for path in (tmp_path / "demo").iterdir()}
    assert created == {"organism.yaml", "handlers.py", "input.jsonl", "README.md"}
    for line in (tmp_path / "demo" / "input.jsonl").read_text().splitlines():
        assert json.loads(line).keys() == {"first", "last"}
    assert not any("{{" in path.read_text() for path in (tmp_path / "demo").iterdir())


def test_what_it_says_to_do_works(tmp_path: Path) -> None:
    """The printed lines, and those of the README it wrote, run as they stand in a shell."""
    printed = pump(tmp_path, "init", "hello").stdout
    readme = (tmp_path / "hello" / "README.md").read_text()
    answers = re.search(r"answers are `(.*?)` and `(.*?)`", readme)
    in_readme = re.search(r"```\n(.*?)```", readme, re.DOTALL)
    assert answers
    assert in_readme
    done = shell(tmp_path, "\n".join(line for line in printed.splitlines() if line[:2] == "  "))
    assert (done.returncode, done.stdout.splitlines()) == (0, [*answers.groups()])
    done = shell(tmp_path / "hello", in_readme[1])
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, [*answers.groups()])


def shell(folder: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """As a reader types them, with `pump` on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-ec", commands],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """It may exist, as long as nothing in it could be lost."""
    (tmp_path / "demo").mkdir()
    assert pump(tmp_path, "init", "demo").returncode == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder with content, or a file of that name, is refused with exit 2."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        done = pump(tmp_path, "init", name)
        assert done.returncode == 2
        assert done.stderr == f"pump init: {name} exists and is not an empty folder\n"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["", "9lives", "a b", "../up", "a/b", "x" * 65, "a.b"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    """Exit 2, one line, nothing created."""
    done = pump(tmp_path, "init", name)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
