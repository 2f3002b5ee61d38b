"""Asks Redis at each scrape, and for no longer than a scrape may take."""

from collections.abc import Callable, Iterator
from threading import Lock, Thread
from typing import Generic, TypeVar

from backends.errors import BackendError
from backends.redis.fleet import Fleet
from pipeline.metrics.shapes import Metric, counter, gauge

T = TypeVar("T")

#: Seconds that an answer may take before Redis counts as away; far below what a scrape may take
#: (10 s by default).
PATIENCE_S = 2.0


class Watch(Generic[T]):
    """Asks in a thread of its own: name servers and time-outs of a URL know no bound of ours.

    Args:
        ask: blocks; raises `BackendError` where there is no answer.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._asking: Thread | None = None
        self._answer: list[T] = []

    def answer(self) -> T | None:
        """What was answered now; None where that takes too long, or fails. Safe from any thread."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._answer = []
                arguments = (self._answer,)
                self._asking = Thread(target=self._run, args=arguments, name="watch", daemon=True)
                self._asking.start()
            asking, answer = self._asking, self._answer
        asking.join(PATIENCE_S)
        return answer[0] if answer else None

    def _run(self, answer: list[T]) -> None:
        try:
            answer.append(self._ask())
        except BackendError:
            # Whoever works with Redis says so in the log.
            return


FleetAnswer = tuple[Fleet, dict[str, int], float]


def fleet_metrics(answer: FleetAnswer | None) -> Iterator[Metric]:
    """What the fleet's Redis says: the same from every pump, so take the `max`, not the `sum`."""
    if answer is None:
        yield redis_up(None)
        return
    fleet, counts, took_s = answer
    yield redis_up(took_s)
    yield round_trip(took_s)
    yield Metric(
        "gauge",
        "fleet_backlog",
        "Messages that wait or run: for pumps and for workers (cpu).",
        [
            ({"kind": "pump", "state": "waiting"}, fleet.waiting),
            ({"kind": "pump", "state": "delayed"}, fleet.delayed),
            ({"kind": "pump", "state": "running"}, fleet.taken),
            ({"kind": "cpu", "state": "waiting"}, fleet.dispatched),
            ({"kind": "cpu", "state": "running"}, fleet.claimed),
        ],
    )
    yield Metric(
        "gauge",
        "fleet_processes",
        "Pumps and workers that hold a lease, and the processes of the workers' pools.",
        [
            ({"role": "pump"}, fleet.pumps),
            ({"role": "worker"}, fleet.workers),
            ({"role": "pool"}, fleet.processes),
        ],
    )
    for name, text in _GAUGES.items():
        yield gauge(f"fleet_{name}", text, getattr(fleet, name))
    for name, (metric, text) in _COUNTERS.items():
        yield counter(f"fleet_{metric}", text, counts[name])


def redis_up(took_s: float | None) -> Metric:
    """Whether Redis answered."""
    text = f"1 if Redis answered this scrape within {PATIENCE_S:g} s."
    return gauge("redis_up", text, 0.0 if took_s is None else 1.0)


def round_trip(took_s: float) -> Metric:
    """How long it took."""
    return gauge("redis_round_trip_seconds", "Seconds until Redis answered this scrape.", took_s)


_GAUGES = {
    "parked": "Dispatches that no live worker can run; part of the cpu backlog.",
    "conversations": "Conversations that have not ended.",
    "letters": "Dead letters kept.",
    "quarantined": "Records set aside that were none of ours.",
}
_COUNTERS = {
    "accepted": ("accepted", "Messages from outside that were accepted."),
    "hops": ("hops", "Hops settled."),
    "dispatched": ("dispatches", "Runs recorded for workers; each attempt is one."),
    "completed": ("completions", "Runs whose outcome a worker handed in in time."),
    "released": ("releases", "Runs that a worker gave back without having begun."),
    "retries": ("retries", "Messages put back to be tried again."),
    "taken_over": ("takeovers", "Messages and runs taken from processes that died or left."),
    "published_again": ("republished", "Runs sent to the broker once more."),
    "duplicates": ("duplicates", "Hops that had been settled already, and were dropped."),
    "copies": ("copies", "Messages of the broker for runs that were done or somebody else's."),
    "late_outcomes": ("late_outcomes", "Outcomes of runs that had been taken over; dropped."),
    "late_answers": ("late_answers", "Answers that nobody waited for any more; dropped."),
    "dead_letters": ("dead_letters", "Messages set aside as dead letters."),
    "replayed": ("replays", "Dead letters that were replayed."),
    "refused": ("refused_records", "Records refused: forged, damaged, or none of ours."),
}
