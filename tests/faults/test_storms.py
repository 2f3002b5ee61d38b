"""Nothing is lost or doubled while processes die and Redis goes away: `make chaos`, in short."""

import pytest

from tests.chaos.__main__ import LEASE_S, Outage, freezes, restarts, storm


@pytest.mark.timeout(240)
def test_killed_pumps_workers_and_children_lose_and_double_nothing() -> None:
    """Every conversation completes; every answer enters once; the dead are replaced in time."""
    report = storm(1500, seed=7, pause_s=(0.5, 1.5), limit_s=180)
    assert (report.lost, report.doubled, report.wrong) == (0, 0, 0), report
    assert sum(report.kills.values()) >= 3, report
    assert report.runs >= report.expected_runs, report
    assert max(report.recoveries_s) <= LEASE_S + 5, report


@pytest.mark.timeout(240)
def test_a_redis_that_is_killed_and_started_again() -> None:
    """From its append-only file, nothing is lost; everybody goes on by themselves."""
    _check(restarts(3000, times=2, away_s=2.0, limit_s=180), times=2)


@pytest.mark.timeout(240)
def test_a_redis_that_accepts_and_never_answers() -> None:
    """For longer than anybody waits for an answer."""
    _check(freezes(2000, times=1, away_s=7.0, limit_s=180), times=1)


def _check(outage: Outage, times: int) -> None:
    report = outage.report
    assert (report.lost, report.doubled, report.wrong) == (0, 0, 0), report
    assert outage.away == outage.back == [times] * 4, outage
