"""A process's beats, where they can't be written."""

import threading
from pathlib import Path

import pytest

from pipeline.heartbeat import Heartbeat


def test_what_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And again after it could: the process goes on, and its probe tells."""
    folder = tmp_path / "run"
    heartbeat = Heartbeat(folder / "alive")
    for _ in range(2):
        heartbeat.beat()
    assert [each.message for each in caplog.records] == ["no heartbeat"]
    folder.mkdir()
    heartbeat.beat()
    assert (folder / "alive").exists()
    heartbeat.end()
    folder.rmdir()
    heartbeat.beat()
    assert len(caplog.records) == 2


def test_nobody_need_want_it() -> None:
    """Then nothing happens."""
    heartbeat = Heartbeat(None)
    assert not heartbeat.is_wanted
    heartbeat.clear()
    heartbeat.beat()
    heartbeat.end()


@pytest.mark.parametrize("name", ["", ".", "missing/alive"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    """As an `OSError`, which the command tells."""
    with pytest.raises(OSError, match="directory"):
        Heartbeat(tmp_path / name).clear()
    with pytest.raises(OSError, match="directory"):
        Heartbeat(Path(name)).clear()


def test_clearing_shows_no_beat(tmp_path: Path) -> None:
    """However often a probe looks meanwhile: what has not begun does not live yet."""
    alive = tmp_path / "alive"
    is_over, seen = threading.Event(), threading.Event()

    def look() -> None:
        while not is_over.is_set():
            if alive.exists():
                seen.set()

    probe = threading.Thread(target=look)
    probe.start()
    for _ in range(5000):
        Heartbeat(alive).clear()
    is_over.set()
    probe.join()
    assert not seen.is_set()
    assert not list(tmp_path.iterdir())
