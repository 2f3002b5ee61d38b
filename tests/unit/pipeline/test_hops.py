"""How long a retry waits."""

import pytest

from pipeline.hops import MAX_BACKOFF_S, retry_delay_s


@pytest.mark.parametrize(
    ("attempt", "backoff_s", "ceiling"),
    [
        (1, 0.5, 0.5),
        (2, 0.5, 1.0),
        (3, 0.5, 2.0),
        (4, 0.5, 4.0),
        (20, 0.5, MAX_BACKOFF_S),
        (10**6, 0.5, MAX_BACKOFF_S),
        (1, 1000.0, MAX_BACKOFF_S),
        (5, 0.0, 0.0),
    ],
)
def test_the_delay_doubles_up_to_a_cap(attempt: int, backoff_s: float, ceiling: float) -> None:
    """Half of it is certain, half at random, so that a crowd does not come back at once."""
    delays = [retry_delay_s(attempt, backoff_s) for _ in range(200)]
    assert all(ceiling / 2 <= delay <= ceiling for delay in delays)
    if ceiling:
        assert max(delays) - min(delays) > ceiling / 4
