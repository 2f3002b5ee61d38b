"""`pump version`, from outside."""

import json
import platform
import subprocess
import sys

from pipeline.version import __version__


def version(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", "version", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_lines_for_people() -> None:
    """A line a package, ours first."""
    done = version()
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["celery-pump", "python", "celery", "kombu", "redis", "msgspec"]
    assert done.stdout.splitlines()[0].split()[1] == __version__


def test_json_for_programs() -> None:
    """One object of the same."""
    versions = json.loads(version("--json").stdout)
    assert versions["celery-pump"] == __version__
    assert versions["python"] == platform.python_version()
    assert versions["celery"].startswith("5.")
