"""A flood: far more messages than fit, injected as fast as the door takes them."""

from dataclasses import dataclass
from statistics import median

from tests.soak.fleet import PREFIX, Fleet, running_fleet
from tests.soak.memory import Sampler

#: How far the pump is when its memory is first noted, and what it may have beyond that in the end.
MARK, MOST_MORE_MIB = 10_000, 24.0
MOST_OPEN = 1000
#: The fewest waiting conversations whose memory says something of each.
_FEWEST_WAITING = 50
_SECONDS_EACH = 0.05


@dataclass
class Flood:
    """What a flood came to."""

    messages: int
    completed: int
    seconds: float
    #: MiB of the pump: idle, after the first `MARK` messages (or a twentieth), and at most.
    idle_mib: float
    mark_mib: float
    peak_mib: float
    #: The most conversations that were open at once, and what Redis took for one.
    open_at_most: int
    most_open: int
    bytes_each: float
    mark: int

    @property
    def is_good(self) -> bool:
        """All done, each once; neither the pump nor Redis grew with their number."""
        is_bounded = self.peak_mib - self.mark_mib < MOST_MORE_MIB
        is_held = self.open_at_most <= self.most_open
        return self.completed == self.messages and is_bounded and is_held

    def __str__(self) -> str:
        return (
            f"{self.messages} injected, {self.completed} completed, {self.seconds:.0f} s,"
            f" {self.messages / self.seconds:.0f}/s\n"
            f"pump: {self.idle_mib:.0f} MiB idle, {self.mark_mib:.0f} MiB after {self.mark},"
            f" {self.peak_mib:.0f} MiB at most (limit: {MOST_MORE_MIB:.0f} more)\n"
            f"redis: {self.open_at_most} conversations open at most (max_threads {self.most_open}),"
            f" {self.bytes_each:.0f} bytes each"
        )


class _Gauge:
    """Looks at the pump and at Redis, and knows what was the case when."""

    def __init__(self, fleet: Fleet, mark: int) -> None:
        self._fleet, self._mark = fleet, mark
        self._resident = fleet.gauges()["pump 1"]
        self._idle_bytes = self._used()
        self.idle_mib = self._resident()
        self.mark_mib = 0.0
        self.waiting: list[int] = []
        self.bytes_each: list[float] = []

    def __call__(self) -> float:
        mib = self._resident()
        if self._fleet.counted("accepted") <= self._mark or not self.mark_mib:
            self.mark_mib = max(self.mark_mib, mib)
        waiting = int(self._fleet.client.zcard(f"{PREFIX}i:open"))
        self.waiting.append(waiting)
        if waiting >= _FEWEST_WAITING:
            self.bytes_each.append((self._used() - self._idle_bytes) / waiting)
        return mib

    def _used(self) -> int:
        return int(self._fleet.client.info("memory")["used_memory"])


def flood(messages: int) -> Flood:
    """Inject so many for a handler on workers into one pump; ends when all are done."""
    backend = {"keep_closed": 0, "max_threads": MOST_OPEN}
    with running_fleet(pumps=1, workers=2, backend=backend) as fleet:
        return flood_on(fleet, messages, most_open=MOST_OPEN)


def flood_on(fleet: Fleet, messages: int, *, most_open: int) -> Flood:
    """The same for a fleet of one pump, which keeps no ended conversation.

    Args:
        most_open: its `backend.max_threads`.
    """
    mark = min(MARK, max(1, messages // 20))
    gauge, before = _Gauge(fleet, mark), fleet.counted("completed")
    with Sampler({"pump": gauge}, sample_s=0.1) as sampler:
        order = {"id": "flood", "flood": messages}
        (told,) = fleet.run(order, 60 + messages * _SECONDS_EACH)
    return Flood(
        told["asked"],
        fleet.counted("completed") - before,
        told["seconds"],
        idle_mib=gauge.idle_mib,
        mark_mib=gauge.mark_mib,
        peak_mib=sampler.peak("pump"),
        open_at_most=max(gauge.waiting, default=0),
        most_open=most_open,
        bytes_each=median(gauge.bytes_each) if gauge.bytes_each else 0.0,
        mark=mark,
    )
