"""What the example's command refuses, before any work."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "stdlib_audit"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("--root nowhere", "nowhere is not a folder that can be read: No such file"),
        ("--root file", "file is not a folder that can be read: Not a directory"),
        ("--out file", "argument --out: file: File exists"),
        ("--out file/out", "argument --out: file/out: Not a directory"),
        ("--file nowhere.yaml", "nowhere.yaml: no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(
    tmp_path: Path, asked: str, reason: str
) -> None:
    """Exit 2, the reason on the last line, no traceback."""
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, EXAMPLE, *asked.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
