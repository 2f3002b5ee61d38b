"""Shows that a worker's main process gets around, for whoever restarts hung ones.

While it takes messages the main thread itself beats. While it starts, stops, or looks for its
broker, which has time-outs of its own, a thread does. That thread also beats for a main thread
that stands still because the broker does: Celery sends its events from its loop, and tries for
as long as nobody answers.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import redis
from celery import Celery, bootsteps, signals

from pipeline.heartbeat import BEAT_S, Heartbeat
from pipeline.organism import Organism
from tasks.broker import OWN_SCHEMES, broker_url
from tasks.names import HEARTBEAT_VARIABLE

#: Seconds without a beat of the main thread after which the thread asks whether the broker is
#: away. With what asking may take, far below what a probe should allow.
SILENCE_S = 5.0


def show_pulse(app: Celery, organism: Organism) -> None:
    """Have every worker of *app* show its pulse, where `$PUMP_HEARTBEAT_FILE` or systemd asks."""
    named = os.environ.get(HEARTBEAT_VARIABLE)
    heartbeat = Heartbeat(Path(named) if named else None)
    if heartbeat.is_wanted:
        app.pulse = pulse = _Pulse(heartbeat, lambda: is_broker_away(app, organism))
        app.steps["worker"].add(_Beside)
        app.steps["consumer"].add(_WhileConsuming)
        # The pool ends after every step of ours, and may take its time.
        signals.worker_shutdown.connect(pulse.stop, weak=False)


def is_broker_away(app: Celery, organism: Organism) -> bool:
    """Ask it over a new connection. Blocks, for some 10 s at most."""
    if broker_url(organism).partition("://")[0] in OWN_SCHEMES:
        try:
            app.broker_watch.ask()
        except redis.RedisError:
            return True
        return False
    with app.connection_for_write() as connection:
        try:
            connection.connect()
        except connection.recoverable_connection_errors:
            return True
    return False


class _Pulse:
    def __init__(self, heartbeat: Heartbeat, is_broker_away: Callable[[], bool]) -> None:
        self._heartbeat = heartbeat
        self._is_broker_away = is_broker_away
        self._beaten_at = 0.0
        self._is_over = Event()
        self._is_consuming = False
        self._thread: Thread | None = None

    def start(self) -> None:
        self._heartbeat.clear()
        self._thread = Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def stop(self, **_: Any) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()
        self._heartbeat.end()

    def follow_main(self, timer: Any) -> Any:
        """From here on the main thread has to beat; its timer's entry."""
        self._beaten_at = time.monotonic()
        self._is_consuming = True
        return timer.call_repeatedly(BEAT_S, self._beat_of_main)

    def spare_main(self) -> None:
        self._is_consuming = False

    def _run(self) -> None:
        while not self._is_over.is_set():
            if not self._is_consuming or (self._is_silent() and self._is_broker_away()):
                self._heartbeat.beat()
            self._is_over.wait(BEAT_S)

    def _beat_of_main(self) -> None:
        self._beaten_at = time.monotonic()
        self._heartbeat.beat()

    def _is_silent(self) -> bool:
        return time.monotonic() - self._beaten_at > SILENCE_S


class _Beside(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A step of the worker: from the fork of its pool, to spare the children a thread."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        parent.app.pulse.start()


class _WhileConsuming(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
    """A step of the consumer: begins anew with each connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        self._entry = parent.app.pulse.follow_main(parent.timer)

    def stop(self, parent: Any) -> None:
        parent.app.pulse.spare_main()
        self._entry.cancel()
