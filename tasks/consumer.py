"""Celery's consumer, made to outlive messages that Celery or kombu can't make sense of.

Theirs ends the worker's main process over an entry of the queue that is no message, or a message
whose headers are not what they expect; each worker would take the next such one, and end as well.
So it would when Redis takes no writes for now, which BRPOP is one of, or lets us do it no more.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.state import maybe_shutdown

from backends.contact import LONGEST_PAUSE_S, pause_s
from backends.redis.refusals import refusal_in

log = logging.getLogger(__name__)


class RefusedMessageError(ConnectionResetError):
    """What came from the broker can't be handled.

    To Celery it is a lost connection: it connects anew, and so forgets what the message had half
    begun, such as a place in the pool. What is ours among the rest the ledger publishes again.
    """


class RefusedWriteError(ConnectionResetError):
    """The broker takes no writes for now, or none of ours: to Celery it is a lost connection."""


class Consumer(CelerysConsumer):  # type: ignore[misc]  # celery has no types
    """Takes messages for one worker."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.loop: Callable[..., None] = self._refusing(self.loop)
        self.blueprint.start = self._outliving_refusals(self.blueprint.start)

    def connect(self) -> Any:
        """A connection to a broker that takes writes, once this worker may take work; waits.

        Raises:
            SystemExit: it may not, for want of a key.
        """
        failures = 0
        while True:
            started = time.monotonic()
            connection = self._connect_unless_refused(started)
            if connection is not None:
                self.app.broker_watch.contact.answered(since=started)
                if self.app.admit(_pause):
                    self._register(connection)
                    return connection
                connection.collect()
            failures += 1
            _pause(pause_s(failures))

    def _connect_unless_refused(self, started: float) -> Any:
        """A connection; None while the broker refuses it, or takes no writes."""
        connection = None
        try:
            self._ask()
            connection = self.connection_for_read(heartbeat=self.amqheartbeat)
            with connection.channel() as channel:
                for queue in self.app.amqp.queues.consume_from.values():
                    queue(channel).declare()
        except Exception as exc:
            if refusal_in(exc) is None:
                raise
            self.app.broker_watch.lost(exc, since=started)
            if connection is not None:
                connection.collect()
            return None
        return connection

    def _register(self, connection: Any) -> None:
        """As Celery's own `connect` does; a loop never lets go of what it has been given."""
        if self.hub:
            connection.transport.register_with_event_loop(connection.connection, self.hub)

    def _ask(self) -> None:
        """Raise what the broker refuses; one that is away is Celery's to wait for."""
        try:
            self.app.broker_watch.ask()
        except (redis.ConnectionError, redis.TimeoutError) as exc:
            # Celery would wait half a minute for a broker that does not know us.
            if refusal_in(exc) is not None:
                raise

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """What is done with each message; one that fails is taken out of the queue."""
        handle = super().create_task_handler(*args, **options)

        def on_message(message: Any) -> None:
            try:
                handle(message)
            except self._known_errors():
                raise
            except Exception as exc:
                # Rejected first: a broker that keeps what is unacknowledged would send it again.
                message.reject_log_error(log, self.connection_errors)
                raise _refused(exc) from exc
            self._hand_over()

        return on_message

    def _hand_over(self) -> None:
        """Write to the pool's pipes what waits for that.

        Celery's loop would do so in its next turn, after it has asked the broker for more.
        """
        pool = getattr(self.pool, "_pool", None)
        write = getattr(self.hub, "consolidate_callback", None)
        if pool is not None and write is not None and getattr(pool, "outbound_buffer", None):
            write(list(pool._all_inqueues))  # noqa: SLF001 - as Celery's loop calls it

    def _refusing(self, loop: Callable[..., None]) -> Callable[..., None]:
        def run(*args: Any) -> None:
            try:
                loop(*args)
            except self._known_errors():
                raise
            except Exception as exc:
                raise _refused(exc) from exc

        return run

    def _outliving_refusals(self, start: Callable[..., None]) -> Callable[..., None]:
        """*start*, whatever step of it, or a loop that it runs, meets a refusal."""

        def run(*args: Any) -> None:
            try:
                start(*args)
            except Exception as exc:
                refusal = refusal_in(exc)
                if refusal is None:
                    raise
                if refusal.is_of_access:
                    self.app.broker_watch.lost(exc, since=time.monotonic())
                    # It may let us connect and do no more: Celery would try again at once.
                    time.sleep(LONGEST_PAUSE_S)
                raise RefusedWriteError(f"the broker refuses: {refusal.code}") from exc

        return run

    def _known_errors(self) -> tuple[type[Exception], ...]:
        """What Celery recovers from by itself."""
        return (*self.connection_errors, *self.channel_errors)


def _pause(seconds: float) -> None:
    """Wait, unless the worker was told to stop."""
    maybe_shutdown()
    time.sleep(seconds)


def _refused(exc: Exception) -> RefusedMessageError:
    # Without its text or a traceback: both may repeat what stood in the message.
    log.error("message refused", extra={"action": "refuse", "reason": type(exc).__name__})
    return RefusedMessageError("a message was refused")
