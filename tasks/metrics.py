"""What a worker has to tell: its main process speaks for the processes of its pool as well."""

import os
import time
from collections.abc import Iterator
from typing import Any

from celery import Celery, bootsteps

from backends.redis.fleet import FleetReader
from pipeline.errors import ConfigError
from pipeline.metrics.endpoint import LOOPBACK, Address, MetricsEndpoint, endpoint_at
from pipeline.metrics.pump_metrics import build_info, lease_metrics
from pipeline.metrics.redis_watch import Watch, redis_up, round_trip
from pipeline.metrics.shapes import Metric, counter, gauge
from pipeline.organism import Organism
from tasks.names import EXECUTOR, METRICS_HOST_VARIABLE, METRICS_PORT_VARIABLE
from tasks.run_tally import share_tally
from tasks.supervision import Supervisor, processes_of


class WorkerMetrics:
    """Of one worker; made before its pool is.

    Args:
        address: where they are asked for.
    """

    def __init__(self, organism: Organism, address: Address) -> None:
        names = {each.name for each in organism.listeners if organism.executor_of(each) == EXECUTOR}
        self._tally = share_tally(sorted(names))
        self._organism = organism
        self._address = address
        self._endpoint: MetricsEndpoint | None = None
        self._supervisor: Supervisor | None = None
        self._watch: Watch[float] | None = None
        self._pool: Any = None
        #: The process that listens.
        self._listener = 0

    def open(self, supervisor: Supervisor) -> None:
        """Take the address, in the main process before it forks.

        Raises:
            SystemExit: it can't be had; the text says why.
        """
        self._supervisor, self._listener = supervisor, os.getpid()
        try:
            self._endpoint = endpoint_at(self._address)
        except ConfigError as exc:
            raise SystemExit(str(exc)) from None

    def start(self, pool: Any) -> None:
        """Answer from now on; after the pool's processes were forked."""
        self._pool = pool
        self._watch = Watch(FleetReader(self._organism.backend).ping)
        if self._endpoint is not None:
            self._endpoint.start(self.collect, organism=self._organism.name)

    def forget(self) -> None:
        """In a process of the pool: nobody listens here, unless the pool is this very process."""
        if self._endpoint is not None and os.getpid() != self._listener:
            self._endpoint.forget()

    def stop(self) -> None:
        """Answer no more."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.stop()

    def collect(self) -> Iterator[Metric]:
        """What there is to tell right now; asks Redis, for two seconds at most."""
        yield build_info("worker")
        yield from self._runs()
        supervisor = self._supervisor
        if supervisor is not None:
            yield from _of_supervisor(supervisor, self._organism.celery.terms.lease_s)
        live = len(processes_of(self._pool))
        yield gauge("worker_processes", "Processes of this worker's pool that live.", live)
        took_s = self._watch.answer() if self._watch is not None else None
        yield redis_up(took_s)
        if took_s is not None:
            yield round_trip(took_s)

    def _runs(self) -> Iterator[Metric]:
        sums = self._tally.sums()
        yield Metric(
            "counter",
            "worker_runs",
            "Handlers that this worker ran to their end.",
            [
                ({"listener": name, "outcome": outcome}, count)
                for name, runs in sums.items()
                for outcome, count in (("completed", runs.completed), ("failed", runs.failed))
            ],
        )
        yield Metric(
            "counter",
            "worker_busy_seconds",
            "Seconds that this worker's processes spent in handlers that have ended.",
            [({"listener": name}, runs.busy_s) for name, runs in sums.items()],
        )


def _of_supervisor(supervisor: Supervisor, lease_s: float) -> Iterator[Metric]:
    text = "Processes of this worker's pool that held a run at its last beat."
    yield gauge("worker_processes_busy", text, supervisor.busy)
    text = "Processes of this worker's pool that died while they held a run."
    yield counter("worker_process_deaths", text, supervisor.deaths)
    if supervisor.renewed_at:
        yield from lease_metrics(time.monotonic() - supervisor.renewed_at, lease_s)


def show_metrics(app: Celery, organism: Organism) -> WorkerMetrics | None:
    """What every worker of *app* shows, where `$PUMP_METRICS_PORT` asks for it.

    Raises:
        ConfigError: the port is none, or the extra `metrics` is not installed.
    """
    port = os.environ.get(METRICS_PORT_VARIABLE)
    if not port:
        return None
    if not port.isdecimal():
        raise ConfigError(f"${METRICS_PORT_VARIABLE} is {port!r}; it must be a port's number")
    address = Address(os.environ.get(METRICS_HOST_VARIABLE) or LOOPBACK, int(port))
    app.worker_metrics = metrics = WorkerMetrics(organism, address)
    app.steps["worker"].add(_Beside)
    return metrics


class _Beside(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A step of the worker: from the fork of its pool, to spare the children a thread."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        parent.app.worker_metrics.start(parent.pool)
