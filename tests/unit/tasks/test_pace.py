"""What is concluded from how long handlers take."""

import pytest

from tasks.pace import ENOUGH, Pace


@pytest.mark.parametrize("duration_s", [float("nan"), float("inf"), -1.0])
def test_what_is_no_duration_is_not_counted(duration_s: float) -> None:
    """It may come from somebody's record; batches must not depend on it for ever."""
    pace = Pace(0.05)
    for _ in range(ENOUGH):
        pace.observe("a", 0.001)
    expected = pace.sizes()
    assert 1 < expected["a"] < 100
    pace.observe("a", duration_s)
    assert pace.sizes() == expected
