"""What an executor tells of itself, from any thread."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest

from backends.codec import Codec
from pipeline.organism_file import load_organism
from tasks.executor import CeleryExecutor
from tests.fleet import write_organism
from tests.integration.conftest import listener


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Threads take turns after each step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_sizes_are_told_while_the_publisher_counts(tmp_path: Path) -> None:
    """A size that was never counted before may come up meanwhile."""
    url = "redis://localhost:1"
    file = write_organism(tmp_path / "organism.yaml", url, "none:", [listener()])
    executor = CeleryExecutor(load_organism(file), Codec())
    counted, is_over = executor._batch_sizes, Event()

    def publish() -> None:
        for size in count(1):
            counted[size % 5000] += 1
            if size % 5000 == 0:
                counted.clear()
            if is_over.is_set():
                return

    publisher = Thread(target=publish)
    publisher.start()
    try:
        for alone in range(1, 300):
            executor.was_sent("work", str(alone))
            assert executor.batch_sizes[1] >= alone
    finally:
        is_over.set()
        publisher.join()
