"""The long day, in short: what is exact about it, and that the check of memory can fail."""

import random

import pytest

from tests.soak.day import Day, soak_on
from tests.soak.fleet import running_fleet
from tests.soak.flood import Flood, flood_on
from tests.soak.memory import LIMIT_MIB_PER_HOUR, Sample, after_warm_up, slope_of, table
from tests.soak.slow import slow

MOST_OPEN = 100


def line(mib_per_hour: float, *, noise: float = 0.0, sawtooth: float = 0.0) -> list[Sample]:
    """Ten minutes of samples, half a second to and fro, with some that are far off."""
    chance = random.Random(7)  # noqa: S311 - the same every time
    samples = []
    for second in range(600):
        mib = 50 + mib_per_hour * second / 3600 + chance.uniform(-noise, noise)
        mib += sawtooth * (second % 40) / 40
        # A process that has just begun.
        samples.append(Sample(1000.0 + second, 5.0 if chance.random() < 0.05 else mib))
    return samples


@pytest.mark.parametrize(
    ("samples", "expected", "grows"),
    [
        (line(0.0), 0.0, False),
        (line(0.0, noise=2.0), 0.0, False),
        (line(0.0, noise=1.0, sawtooth=8.0), 0.0, False),
        (line(60.0), 60.0, True),
        (line(60.0, noise=2.0), 60.0, True),
        (line(60.0, noise=1.0, sawtooth=8.0), 60.0, True),
        (line(-60.0, noise=2.0), -60.0, False),
    ],
)
def test_a_slope_is_found_and_judged(
    samples: list[Sample], expected: float, *, grows: bool
) -> None:
    """Whatever noise, replaced processes and samples that are far off."""
    slope = slope_of("x", after_warm_up(samples))
    assert slope.mib_per_hour == pytest.approx(expected, abs=LIMIT_MIB_PER_HOUR / 2)
    assert slope.grows == grows
    assert max(map(len, table([slope]).splitlines())) <= 80
    day = Day(1.0, 0.7, 5, 5, 0, 0, seconds=1.0, slopes=[slope])
    assert day.is_good == (not grows)
    assert ("GROWS" in str(day)) == grows


def test_warm_up_is_left_out() -> None:
    """A process that fills its caches for a while is no leak."""
    samples = line(0.0)
    warming = [Sample(each.at, each.mib - max(0.0, 140 - n) / 10) for n, each in enumerate(samples)]
    assert not slope_of("x", after_warm_up(warming)).grows


def test_what_is_lost_or_left_is_seen() -> None:
    """A request without an answer, a key that stays, a pump that grows with a flood."""
    assert Day(1.0, 0.7, 5, 5, 0, 0, seconds=1.0).is_good
    assert not Day(1.0, 0.7, 5, 4, 0, 0, seconds=1.0).is_good
    assert not Day(1.0, 0.7, 5, 5, 1, 0, seconds=1.0).is_good
    assert not Day(1.0, 0.7, 5, 5, 0, 0, seconds=1.0, left={"soak:v:1"}).is_good

    def flooded(completed: int = 9, peak: float = 60.0, waiting: int = 5) -> bool:
        return Flood(9, completed, 1.0, 40.0, 50.0, peak, waiting, 10, 500.0, 1).is_good

    assert flooded()
    assert not flooded(completed=8)
    assert not flooded(completed=10)
    assert not flooded(peak=90.0)
    assert not flooded(waiting=11)


@pytest.mark.timeout(240)
def test_a_short_day() -> None:
    """A flood and a soak: everything is done once, and Redis is as it was."""
    backend = {"redis_ttl": 1, "keep_closed": 0, "max_threads": MOST_OPEN}
    with running_fleet(pumps=1, workers=1, backend=backend) as fleet:
        flooded = flood_on(fleet, 6000, most_open=MOST_OPEN)
        assert flooded.is_good, flooded
        assert flooded.open_at_most > MOST_OPEN // 2, flooded
        day = soak_on(fleet, 2.0, peak_s=1.0)
    assert day.asked == day.answered > 0, day
    assert not day.wrong, day
    assert not day.left, day
    assert {each.name for each in day.slopes} >= {"pump 1", "worker 1, main", "redis, used_memory"}


@pytest.mark.timeout(120)
def test_who_reads_slowly_keeps_others_waiting() -> None:
    """Each answer and event comes, in order; memory does not grow with what waits."""
    for found in slow(8000, messages=200, stall_s=1.0):
        assert found.is_good, found
