"""How long a worker rests that is given what it may not run."""

import pytest

from tasks import rest
from tasks.rest import FIRST_REST_S, LONGEST_REST_S, Rest


class Clock:
    """In `time`'s place; goes on when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rest, "time", clock)
    return clock


def rested(clock: Clock, rest: Rest) -> float:
    """Begin to rest, to the end of it; how long that was."""
    rest.begin()
    left_s = rest.left_s
    clock.now += left_s
    assert rest.left_s <= 1e-9
    return left_s


def test_each_rest_is_twice_the_one_before_up_to_the_longest(clock: Clock) -> None:
    """It goes on so, though the next refusal is a little late each time."""
    rest, found = Rest(), []
    assert rest.left_s == 0
    for _ in range(8):
        found.append(rested(clock, rest))
        clock.now += LONGEST_REST_S / 2
    expected = [min(FIRST_REST_S * 2**n, LONGEST_REST_S) for n in range(8)]
    assert found == pytest.approx(expected)


def test_where_none_was_needed_for_a_while_the_first_is_short_again(clock: Clock) -> None:
    rest = Rest()
    for _ in range(8):
        rested(clock, rest)
    clock.now += LONGEST_REST_S * 1.5
    assert rested(clock, rest) == pytest.approx(FIRST_REST_S)
    assert rested(clock, rest) == pytest.approx(2 * FIRST_REST_S)
