"""Nothing is lost or doubled while processes die and Redis goes away: `make chaos`, in short."""

import pytest

from tests.chaos.__main__ import PATIENCE_S, storm
from tests.chaos.outages import Outage, cuts, freezes, restarts
from tests.chaos.scene import LEASE_S
from tests.chaos.striker import STOPS


@pytest.mark.timeout(240)
def test_killed_pumps_workers_and_children_lose_and_double_nothing() -> None:
    """Every conversation completes; every answer enters once; the dead are replaced in time."""
    report = storm(2500, seed=7, pause_s=(0.4, 1.2), limit_s=180)
    assert report.is_whole, str(report)
    assert sum(report.deeds.values()) >= 3, str(report)
    assert report.runs >= report.expected_runs, str(report)
    # On a slow machine heirs may take longer to start than it takes to kill everybody.
    assert report.slowest_attended_s <= LEASE_S + PATIENCE_S, str(report)


@pytest.mark.timeout(240)
def test_pumps_and_workers_that_come_and_go_keep_nobody_waiting() -> None:
    """Told to stop under load, each gives back what it holds; nothing waits for a lease."""
    report = storm(3000, seed=7, pause_s=(0.3, 1.0), deeds=STOPS, limit_s=180)
    assert report.is_whole, str(report)
    assert sum(report.deeds.values()) >= 3, str(report)
    assert report.slowest_s < LEASE_S, str(report)


@pytest.mark.timeout(240)
def test_a_redis_that_is_killed_and_started_again() -> None:
    """From its append-only file, nothing is lost; everybody goes on by themselves."""
    _check(restarts(3000, times=2, away_s=2.0, limit_s=180), times=2)


@pytest.mark.timeout(240)
def test_a_redis_that_accepts_and_never_answers() -> None:
    """For longer than anybody waits for an answer, and than the pause before who is idle asks."""
    _check(freezes(2000, times=1, away_s=9.0, limit_s=180), times=1)


@pytest.mark.timeout(240)
def test_a_redis_whose_answers_are_lost() -> None:
    """Commands run, whoever sent them hears nothing, all connections break: for up to a minute."""
    outage = cuts(1500, seed=7, longest_s=60, limit_s=180)
    assert outage.report.is_whole, outage.told


def _check(outage: Outage, times: int) -> None:
    assert outage.report.is_whole, outage.told
    assert outage.away == outage.back == [times] * 4, outage.told
