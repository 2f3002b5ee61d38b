"""How long handlers take, and how many of them one message may carry."""

from dataclasses import dataclass
from math import ceil, inf, sqrt

#: Most dispatches of one message: beyond it there is little left to save, and much to run again.
MAX_BATCH = 100
#: Seconds of work ahead of each process that are enough, for the next to be published meanwhile:
#: several times what the way through a pump and the broker takes.
AHEAD_S = 0.02
#: Runs of a handler before anything is concluded.
ENOUGH = 8
#: Weight of the latest run.
WEIGHT = 0.1


@dataclass
class _Durations:
    """Seconds; mean and variance, of which old runs fade.

    Source: T. Finch, Incremental calculation of weighted mean and variance (2009), section 9.
    """

    count: int = 0
    mean_s: float = 0.0
    variance: float = 0.0

    def add(self, duration_s: float) -> None:
        weight = max(WEIGHT, 1 / (self.count + 1))
        step = duration_s - self.mean_s
        self.count += 1
        self.mean_s += weight * step
        self.variance = (1 - weight) * (self.variance + weight * step * step)

    @property
    def usual_s(self) -> float:
        """What few runs exceed; a spread of half the mean is the machine's, not the handler's."""
        spread_s = max(0.0, sqrt(self.variance) - self.mean_s / 2)
        return self.mean_s + 2 * spread_s


class Pace:
    """What is known of each listener's handler.

    `observe` and `sizes` may be called from two threads.

    Args:
        budget_s: how long a batch may go on to start runs.
    """

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._durations: dict[str, _Durations] = {}

    def observe(self, listener: str, duration_s: float) -> None:
        """A handler ran for so long, as whoever ran it says."""
        if not 0 <= duration_s < inf:
            # One that is no duration would stay in the mean for ever.
            return
        durations = self._durations.get(listener)
        if durations is None:
            durations = self._durations[listener] = _Durations()
        durations.add(duration_s)

    def sizes(self) -> dict[str, int]:
        """For each listener whose runs are short enough to share a message, how many."""
        sizes = {listener: self.size(listener) for listener in self._durations.copy()}
        return {listener: size for listener, size in sizes.items() if size > 1}

    def enough(self) -> dict[str, int]:
        """For each listener of which enough is known, how many messages ahead keep a process busy.

        What is not published a process can take past the broker, when it is done with its own.
        """
        known = self._durations.copy().items()
        return {
            listener: ceil(AHEAD_S / max(durations.mean_s, 1e-6))
            for listener, durations in known
            if durations.count >= ENOUGH
        }

    def size(self, listener: str) -> int:
        """How many of its runs may share a message."""
        durations = self._durations.get(listener)
        if durations is None or durations.count < ENOUGH:
            return 1
        # The last one starts before the budget is used up.
        return min(MAX_BATCH, 1 + int(self._budget_s / max(durations.usual_s, 1e-6)))
