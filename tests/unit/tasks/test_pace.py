"""What is concluded from how long handlers take."""

import pytest

from tasks.pace import ENOUGH, MAX_BATCH, Pace


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


@pytest.mark.parametrize(
    ("durations_s", "size"),
    [
        # Of the budget of 50 ms each may be the last to start.
        ([0.005], 11),
        ([0.02], 3),
        ([0.1], 1),
        ([0.0], MAX_BATCH),
        # As they spread on a busy machine: up to half the mean is taken for that.
        ([0.004, 0.008], 9),
        # One long run among many short ones: whoever shared its message would wait for it.
        ([0.001] * 19 + [0.2], 1),
    ],
)
def test_how_many_share_a_message(durations_s: list[float], size: int) -> None:
    """So many as can start within the budget, where durations can be relied upon."""
    pace = Pace(0.05)
    for _ in range(200):
        for duration_s in durations_s:
            pace.observe("a", duration_s)
    assert pace.sizes().get("a", 1) == size


def test_nothing_is_concluded_from_a_few_runs() -> None:
    """Until then each message carries one."""
    pace = Pace(0.05)
    for _ in range(ENOUGH - 1):
        pace.observe("a", 0.001)
    assert pace.sizes() == {}


@pytest.mark.parametrize(
    ("durations_s", "enough"),
    [([0.1], 1), ([0.02], 1), ([0.005], 4), ([0.001] * 19 + [0.2], 2), ([0.0], 20_000)],
)
def test_how_many_messages_ahead_are_enough(durations_s: list[float], enough: int) -> None:
    """So many as last while the next are published."""
    pace = Pace(0.05)
    for _ in range(ENOUGH - 1):
        pace.observe("a", durations_s[0])
    assert pace.enough() == {}
    for _ in range(200):
        for duration_s in durations_s:
            pace.observe("a", duration_s)
    assert pace.enough() == {"a": pytest.approx(enough, abs=1 if enough == 2 else 0)}
