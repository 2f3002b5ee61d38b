"""Ties supervision and the runtime to Celery's signals, which only a worker sends."""

from typing import Any

from celery import Celery, signals
from kombu.exceptions import KombuError
from kombu.transport.virtual import Channel

from pipeline.errors import ConfigError
from pipeline.organism import Organism
from pipeline.tracing import check_environment, export_traces, flush
from tasks.endings import remember_endings
from tasks.forking import prepare_to_fork
from tasks.full_broker import consume_though_full
from tasks.lifeline import Lifeline
from tasks.metrics import WorkerMetrics
from tasks.replacement import replace_at_once
from tasks.runtime import close_runtime, runtime_of
from tasks.supervision import Supervisor

#: Pools whose processes can be watched, and whose handlers can be stopped.
POOLS = ("prefork", "solo")


def supervise(app: Celery, organism: Organism, metrics: WorkerMetrics | None = None) -> None:
    """Have every worker of *app* that starts in this process supervised, and show *metrics*."""
    hooks = _Hooks(app, organism, metrics)
    signals.worker_init.connect(hooks.on_init, weak=False)
    signals.worker_ready.connect(hooks.on_ready, weak=False)
    signals.worker_process_init.connect(hooks.on_process, weak=False)
    signals.worker_process_shutdown.connect(hooks.on_process_end, weak=False)
    signals.task_failure.connect(hooks.on_failure, weak=False)
    signals.task_unknown.connect(hooks.on_unknown, weak=False)
    signals.worker_shutting_down.connect(hooks.on_stopping, weak=False)
    signals.worker_shutdown.connect(hooks.on_stopped, weak=False)


class _Hooks:
    def __init__(self, app: Celery, organism: Organism, metrics: WorkerMetrics | None) -> None:
        self._app = app
        self._organism = organism
        self._metrics = metrics
        self._node = ""
        self._lifeline = Lifeline()
        self._supervisor: Supervisor | None = None

    def on_init(self, sender: Any, **_: Any) -> None:
        """In the main process, before the pool starts."""
        pool = sender.pool_cls.__module__.rpartition(".")[2]
        if pool not in POOLS:
            raise SystemExit(
                f"a worker's pool must be {' or '.join(POOLS)}, not {pool}: in no other can"
                " a death be noticed, or a handler be stopped in time"
            )
        try:
            check_environment()
        except ConfigError as exc:
            raise SystemExit(str(exc)) from exc
        # Kombu would put back what is unacknowledged whenever it closes a connection. The ledger
        # does that by itself; and over a connection that is gone it ends the worker: with an
        # AttributeError in kombu 5.7's Channel.conn_or_acquire.
        Channel.do_restore = False
        consume_though_full()
        replace_at_once()
        remember_endings()
        self._lifeline.open()
        self._node = sender.hostname
        self._supervisor = Supervisor(self._app, self._organism, self._node)
        self._supervisor.knock()
        self._app.admit = self._supervisor.admit
        if self._metrics is not None:
            self._metrics.open(self._supervisor)
        prepare_to_fork()

    def on_ready(self, sender: Any, **_: Any) -> None:
        """In the main process, when it begins to take messages."""
        if self._supervisor is not None:
            self._supervisor.start(sender.pool)

    def on_process(self, **_: Any) -> None:
        """In each process of the pool, before its first task."""
        self._lifeline.follow()
        # Here, not before the fork: what sends spans is a thread.
        export_traces(self._organism.name)
        if self._metrics is not None:
            self._metrics.forget()
        runtime_of(self._app, self._organism, self._node)

    def on_process_end(self, **_: Any) -> None:
        """In each process of the pool, after its last task."""
        close_runtime()
        flush()

    def on_failure(self, **_: Any) -> None:
        """A task failed; in the main process, because its process died."""
        if self._supervisor is not None:
            self._supervisor.hurry()

    def on_unknown(self, message: Any, **_: Any) -> None:
        """A message came that names no task of this worker."""
        if self._supervisor is not None:
            self._supervisor.refuse(_batch_in(message))

    def on_stopping(self, **_: Any) -> None:
        """The worker was told to stop."""
        if self._supervisor is not None:
            self._supervisor.retire()

    def on_stopped(self, **_: Any) -> None:
        """The worker's pool has ended."""
        # With the pool `solo` this process is the one that ran them.
        close_runtime()
        flush()
        if self._metrics is not None:
            self._metrics.stop()
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.stop()


def _batch_in(message: Any) -> str:
    """The batch a message names; empty if it is no message of ours."""
    try:
        (batch_ids,), *_ = message.payload
    except (TypeError, ValueError, KombuError):
        return ""
    return batch_ids if isinstance(batch_ids, str) else ""
