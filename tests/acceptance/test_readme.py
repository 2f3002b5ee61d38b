"""The README's own organism: as short as it says, and it runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import StreamPump

README = Path(__file__).parents[2] / "README.md"


def block(kind: str) -> str:
    """The first code block of that kind."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def organism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two files it shows, where nothing else is."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "handlers", raising=False)
    (tmp_path / "handlers.py").write_text(block("python"))
    file = tmp_path / "organism.yaml"
    file.write_text(block("yaml"))
    return file


def test_it_fits_in_thirty_lines() -> None:
    """Blank ones aside."""
    lines = (block("python") + block("yaml")).splitlines()
    assert len([line for line in lines if line.strip()]) <= 30


def test_it_runs_from_python(organism: Path) -> None:
    """As a script of its own."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    (organism.parent / "main.py").write_text(blocks[1])
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=organism.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "Count(words=3)\n", done.stderr


async def test_it_counts_words(organism: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In other processes, as its `cpu_bound` says."""
    async with StreamPump.from_file(organism) as pump:
        handlers = sys.modules["handlers"]
        answer = await pump.request("split", handlers.Text(["one two", "three"]))
        assert answer == handlers.Count(3)
    monkeypatch.delitem(sys.modules, "handlers")
