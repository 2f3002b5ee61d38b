"""Everything a pump has to tell."""

from collections.abc import Iterator
from platform import python_version

from backends.redis.fleet import FleetReader
from pipeline.metrics.loop_clock import LoopClock
from pipeline.metrics.meter import PumpMeter
from pipeline.metrics.redis_watch import FleetAnswer, Watch, fleet_metrics
from pipeline.metrics.shapes import SIZES, Distribution, Metric, gauge
from pipeline.pump import StreamPump
from pipeline.version import __version__


class PumpMetrics:
    """Of one pump, while its events are counted; `collect` may be called from any thread.

    Args:
        pump: may start later, and end earlier.
    """

    def __init__(self, pump: StreamPump) -> None:
        organism = pump.organism
        self._pump = pump
        self._meter = PumpMeter(listener.name for listener in organism.listeners)
        self.clock = LoopClock()
        self._lease_s: float | None = None
        self._fleet: Watch[FleetAnswer] | None = None
        if organism.backend.backend_type == "redis":
            self._lease_s = organism.celery.terms.lease_s
            self._fleet = Watch(FleetReader(organism.backend).read)
        pump.subscribe(self._meter)

    def collect(self) -> Iterator[Metric]:
        """What there is to tell right now; asks Redis, for two seconds at most."""
        yield build_info("pump")
        yield from self._meter.collect()
        yield from self.clock.collect()
        yield from self._vitals()
        if self._fleet is not None:
            yield from fleet_metrics(self._fleet.answer())

    def _vitals(self) -> Iterator[Metric]:
        vitals = self._pump.vitals
        if vitals is None:
            return
        yield gauge("handlers_running", "Handlers that run in this pump.", vitals.running)
        text = "Messages this pump has taken whose handler has not started."
        yield gauge("messages_held", text, vitals.held)
        text = "Conversations that this pump began and that have not ended."
        yield gauge("conversations_open", text, vitals.conversations)
        sizes = Distribution(SIZES)
        for size, times in vitals.batch_sizes.items():
            sizes.observe(size, times)
        text = "Runs in each message this pump sent to workers; they go on past it with what waits."
        yield Metric("histogram", "batch_size", text, [({}, sizes)])
        if vitals.lease_age_s is not None and self._lease_s is not None:
            yield from lease_metrics(vitals.lease_age_s, self._lease_s)


def lease_metrics(age_s: float, lease_s: float) -> Iterator[Metric]:
    """A lease as its owner sees it: at its full length, others take over what the owner holds."""
    yield gauge("lease_age_seconds", "Seconds since this process renewed its lease.", age_s)
    yield gauge("lease_duration_seconds", "Seconds after which a lease ends.", lease_s)


def build_info(role: str) -> Metric:
    """What runs here; always 1."""
    labels = {"version": __version__, "python": python_version(), "role": role}
    return Metric("gauge", "build_info", "What runs here; always 1.", [(labels, 1.0)])
