"""Asking Redis takes no longer than a scrape may."""

import time
from threading import Event, Thread

import pytest

from backends.errors import BackendUnavailableError
from pipeline.metrics import redis_watch
from pipeline.metrics.redis_watch import Watch, fleet_metrics


def test_one_that_hangs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for long, nor is it asked again until it has answered."""
    monkeypatch.setattr(redis_watch, "PATIENCE_S", 0.05)
    answers, asked = Event(), []

    def ask() -> int:
        asked.append(1)
        answers.wait(10)
        return len(asked)

    watch = Watch(ask)
    started = time.monotonic()
    scrapes = [Thread(target=watch.answer) for _ in range(5)]
    for each in scrapes:
        each.start()
    for each in scrapes:
        each.join()
    assert watch.answer() is None
    assert time.monotonic() - started < 5
    assert len(asked) == 1
    monkeypatch.setattr(redis_watch, "PATIENCE_S", 10)
    answers.set()
    watch.answer()
    assert watch.answer() == 2


def test_one_that_is_away_has_no_fleet() -> None:
    """And one metric that says so."""

    def ask() -> int:
        raise BackendUnavailableError("no")

    assert Watch(ask).answer() is None
    (up,) = fleet_metrics(None)
    assert (up.name, up.rows[0][1]) == ("redis_up", 0)
