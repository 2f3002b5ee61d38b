"""An organism for `pump run`, and the end of whatever a test leaves running."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.jobs import CPU_BOUND, HANDLERS, ORGANISM, Running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "organism.yaml").write_text(ORGANISM)
    return tmp_path


@pytest.fixture
def gated(folder: Path) -> Path:
    """Two lines are in flight at a time, in a process that waits for the file `gate`."""
    text = (ORGANISM + CPU_BOUND).replace("1000}\nprocess", "2}\nprocess")
    (folder / "organism.yaml").write_text(text)
    return folder


@pytest.fixture
def running() -> Iterator[list[Running]]:
    """Whatever a test starts and does not end is ended here."""
    started: list[Running] = []
    yield started
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate()
