"""The soak: the same load for long, memory of everybody, and what is left in Redis."""

import time
from dataclasses import dataclass, field

from tests.soak.fleet import PREFIX, Fleet, running_fleet
from tests.soak.memory import SAMPLE_S, Sampler, Slope, table
from tests.waiting import eventually

#: Of the measured peak.
SHARE = 0.7
#: Requests each pump has open while the peak is measured, and the part of the time that takes.
OPEN_AT_PEAK, PEAK_PART, LONGEST_PEAK_S = 256, 0.1, 30.0
TTL_S = 5.0
#: Short: what is known of a pump's openings and of dead processes outlives a run all the same.
LEASE_S = 5.0
#: What a pump counts of its own load.
COUNTS = ("asked", "answered", "wrong", "left_out")
_PATIENCE_S = 120.0


@dataclass
class Day:
    """What a soak came to."""

    peak: float
    rate: float
    asked: int
    answered: int
    wrong: int
    left_out: int
    seconds: float
    slopes: list[Slope] = field(default_factory=list)
    #: Keys that were not there before and did not go.
    left: set[str] = field(default_factory=set)
    keys_before: int = 0
    keys_at_most: int = 0

    @property
    def is_good(self) -> bool:
        """Nothing grows, all are answered, Redis is as it was."""
        is_whole = self.asked == self.answered and not self.wrong
        return is_whole and not self.left and not any(each.grows for each in self.slopes)

    def __str__(self) -> str:
        done = self.answered / self.seconds
        return (
            f"peak {self.peak:.0f}/s; {self.seconds:.0f} s at {self.rate:.0f}/s"
            f" ({SHARE:.0%}), done {done:.0f}/s\n"
            f"asked {self.asked}, answered {self.answered}, wrong {self.wrong},"
            f" left out for want of room {self.left_out}\n"
            f"{table(self.slopes)}\n"
            f"keys: {self.keys_before} before, {self.keys_at_most} at most,"
            f" {len(self.left)} left: {', '.join(sorted(self.left)[:5]) or '-'}"
        )


def soak(seconds: float) -> Day:
    """Measure the peak of two pumps and two workers, then load them with a part of it so long."""
    backend, celery = {"redis_ttl": TTL_S}, {"lease_s": LEASE_S}
    with running_fleet(backend=backend, celery=celery) as fleet:
        return soak_on(fleet, seconds, peak_s=min(LONGEST_PEAK_S, seconds * PEAK_PART))


def soak_on(fleet: Fleet, seconds: float, *, peak_s: float) -> Day:
    """The same for a fleet that runs."""
    before, pumps = _keys_at_rest(fleet), len(fleet.pumps)
    told = fleet.run({"id": "peak", "open": OPEN_AT_PEAK, "seconds": peak_s}, peak_s + 120)
    peak = sum(each["answered"] / each["seconds"] for each in told)
    rate = SHARE * peak
    started, keys = time.monotonic(), [0]
    gauges = {**fleet.gauges(), "": lambda: _look(fleet, keys)}
    with Sampler(gauges, sample_s=min(SAMPLE_S, seconds / 20)) as sampler:
        order = {"id": "soak", "rate": rate / pumps, "seconds": seconds}
        told = fleet.run(order, seconds + 120)
    day = Day(
        peak,
        rate,
        **{name: sum(each[name] for each in told) for name in COUNTS},
        seconds=time.monotonic() - started,
        slopes=sampler.slopes(),
        keys_before=len(before),
        keys_at_most=max(keys),
    )
    eventually(lambda: not fleet.all_keys() - before, timeout_s=_PATIENCE_S)
    day.left = fleet.all_keys() - before
    return day


def _look(fleet: Fleet, keys: list[int]) -> float:
    keys.append(int(fleet.client.dbsize()))
    return 0.0


def _keys_at_rest(fleet: Fleet) -> set[str]:
    """What there is once everybody has asked, and all that ends has ended."""
    fleet.run({"id": "first", "open": 20, "seconds": 0.5}, 120)
    assert eventually(lambda: not _conversations(fleet), timeout_s=_PATIENCE_S)
    return fleet.all_keys()


def _conversations(fleet: Fleet) -> set[str]:
    return {key for key in fleet.all_keys() if key.startswith((f"{PREFIX}v:", f"{PREFIX}t:"))}
