"""Redis behind Sentinel: its primary is killed under load, and everybody follows the next one."""

import pytest

from tests.chaos.failovers import failovers


@pytest.mark.timeout(240)
def test_everybody_follows_the_new_primary() -> None:
    """By themselves; with what replicas have confirmed nothing is lost or doubled."""
    found = failovers(1200, times=1, gap_s=0.5, replicas=1, limit_s=120)
    assert found.report.is_whole, found
    assert len(found.moved_s) == len(found.worked_s) == 1, found
    *workers, one, other = away = found.outage.away
    assert away == found.outage.back, found
    told = f"failovers: {found.moves}\n{found.outage.told}"
    # A worker may look at Redis before and after, and not meanwhile.
    assert max(workers) <= found.moves, told
    # One that its Sentinels made of a late answer may go by unnoticed.
    assert 1 <= min(one, other) <= max(one, other) <= found.moves, told
