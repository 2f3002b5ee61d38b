"""Memory of processes over time, and whether it grows."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import NamedTuple, Self

MIB = 1024**2
#: What a process may grow by, MiB an hour. Noise of some minutes is a few; a leak of 100 bytes a
#: request at 500 requests/s is 170.
LIMIT_MIB_PER_HOUR = 30.0
#: Samples that a slope is taken of: pairs grow with the square.
MOST_SAMPLES = 300
SAMPLE_S = 1.0
_PAGE = 4096


class Sample(NamedTuple):
    """One look."""

    #: `time.monotonic`.
    at: float
    mib: float


class Slope(NamedTuple):
    """One line of the table."""

    name: str
    first_mib: float
    last_mib: float
    mib_per_hour: float

    @property
    def grows(self) -> bool:
        """More than noise explains."""
        return self.mib_per_hour > LIMIT_MIB_PER_HOUR


def resident_mib(pid: int) -> float:
    """What a process has in memory, shared pages included; 0 when it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / MIB
    return 0.0


def slope_of(name: str, samples: list[Sample]) -> Slope:
    """How a line runs, whatever single samples are: Theil and Sen's median of pairs' slopes."""
    step = max(1, len(samples) // MOST_SAMPLES)
    chosen = samples[::step]
    slopes = [
        (late.mib - early.mib) / (late.at - early.at)
        for early, late in combinations(chosen, 2)
        if late.at > early.at
    ]
    ends = max(1, len(chosen) // 10)
    return Slope(
        name,
        median(each.mib for each in chosen[:ends]),
        median(each.mib for each in chosen[-ends:]),
        median(slopes) * 3600 if slopes else 0.0,
    )


def after_warm_up(samples: list[Sample]) -> list[Sample]:
    """Without the first quarter of the time."""
    if not samples:
        return []
    begins_at = samples[0].at + (samples[-1].at - samples[0].at) / 4
    return [each for each in samples if each.at >= begins_at]


def table(slopes: Iterable[Slope]) -> str:
    """The slopes, in 80 columns."""
    lines = [f"{'after warm-up':<26}{'first MiB':>10}{'last MiB':>10}{'MiB/hour':>10}  limit"]
    for each in slopes:
        verdict = "GROWS" if each.grows else "ok"
        lines.append(
            f"{each.name:<26}{each.first_mib:>10.1f}{each.last_mib:>10.1f}"
            f"{each.mib_per_hour:>+10.1f}  {LIMIT_MIB_PER_HOUR:.0f} {verdict}"
        )
    return "\n".join(lines)


class Sampler:
    """Looks at every gauge once a second, in a thread.

    Args:
        gauges: by name, what tells MiB; 0 or less is left out.
    """

    def __init__(
        self, gauges: dict[str, Callable[[], float]], *, sample_s: float = SAMPLE_S
    ) -> None:
        self._gauges, self._sample_s = gauges, sample_s
        self.samples: dict[str, list[Sample]] = {name: [] for name in gauges}
        self._is_over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def peak(self, name: str) -> float:
        """The most one gauge has told, MiB."""
        return max((each.mib for each in self.samples[name]), default=0.0)

    def slopes(self) -> list[Slope]:
        """Every line after warm-up."""
        return [slope_of(name, after_warm_up(line)) for name, line in self.samples.items() if line]

    def _run(self) -> None:
        while not self._is_over.wait(self._sample_s):
            for name, gauge in self._gauges.items():
                mib = gauge()
                if mib > 0:
                    self.samples[name].append(Sample(time.monotonic(), mib))
