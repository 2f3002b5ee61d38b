"""Rates and durations from what is seen."""

from backends.mailbox import Hop
from pipeline.cli.console.sampling import MOST_RUNS, Meter, Sample

NOW = 10_000.0


def hop(number: int, *, ended: float = NOW - 1, took: float = 0.1, error: str = "") -> Hop:
    return Hop(
        f"id{number}", "echo~1", "external", "t", "c", "T", "host:1", 2, ended - took, took, error
    )


def test_durations_and_failures() -> None:
    """By the listener's name, of all its copies."""
    sample = Sample()
    for n in range(100):
        sample.add([hop(n, took=(n + 1) / 100, error="" if n % 10 else "raised")])
    pace = sample.pace("echo", NOW)
    assert (pace.runs, pace.failures, pace.retries, pace.per_minute) == (100, 10, 100, 100)
    assert pace.median_s == 0.51
    assert pace.p95_s == 0.95
    assert pace.longest_s == 1.0
    assert sample.pace("other", NOW).runs == 0


def test_what_killed_its_worker_is_a_failure_without_a_duration() -> None:
    """Nobody knows when it began."""
    sample = Sample()
    sample.add([hop(1, took=0.0, error="worker_lost")])
    pace = sample.pace("echo", NOW)
    assert (pace.runs, pace.failures, pace.median_s, pace.longest_s) == (1, 1, None, None)
    sample.add([hop(2, took=0.5)])
    pace = sample.pace("echo", NOW)
    assert (pace.runs, pace.failures, pace.median_s, pace.p95_s) == (2, 1, 0.5, 0.5)


def test_a_run_counts_once() -> None:
    """However often its conversation is read."""
    sample = Sample()
    for _ in range(3):
        sample.add([hop(1), hop(2)])
    assert sample.pace("echo", NOW).runs == 2
    assert sample.lately(NOW) == 2
    assert sample.lately(NOW + 100) == 0


def test_what_is_old_displaces_nothing_new() -> None:
    """Somebody may look up what was long ago."""
    sample = Sample()
    sample.add(hop(n) for n in range(MOST_RUNS))
    sample.add(hop(n + MOST_RUNS, ended=NOW - 5000) for n in range(MOST_RUNS))
    assert sample.lately(NOW) == MOST_RUNS


def test_rates_per_minute() -> None:
    """Over the last minute, and over what there is of it."""
    meter = Meter()
    meter.add({"hops": 100}, 0.0)
    assert meter.rates(0).per_minute["hops"] == 0
    meter.add({"hops": 110, "retries": 1}, 10.0)
    rates = meter.rates(5)
    assert (rates.per_minute["hops"], rates.per_minute["retries"]) == (60, 6)
    assert rates.hops_per_s == [1.0]
    assert rates.seen == 0.5
    meter.add({"hops": 710, "retries": 1}, 70.0)
    assert meter.rates(9999).per_minute["hops"] == 600
    assert meter.rates(9999).seen == 1.0


def test_counters_may_begin_anew() -> None:
    """When Redis was emptied nothing is negative."""
    meter = Meter()
    meter.add({"hops": 100}, 0.0)
    meter.add({"hops": 1}, 10.0)
    assert meter.rates(0).per_minute["hops"] == 0
