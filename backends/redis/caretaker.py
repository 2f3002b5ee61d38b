"""The pump's timer: a thread that renews its lease, releases retries and takes over from the dead.

A thread, not a task: a handler that keeps the event loop busy must not cost the pump
its lease.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

from backends.contact import Contact
from backends.errors import BackendError
from backends.redis.connection import connect, disconnect, hear, translated
from backends.redis.scripts import script_text
from backends.terms import Terms

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backlog:
    """What a beat found."""

    waiting: int
    publishable: int
    #: The pump's own stream was gone: news may have been lost.
    lost_news: bool


class Caretaker:
    """Beats for one pump until stopped.

    Args:
        url, head: where, and what every script gets first.
        pump: the pump's id.
        on_beat: called after each beat, from the thread.
        word: tells others which key we have.
    """

    def __init__(  # noqa: PLR0913 - what it cares for
        self,
        url: str,
        head: Sequence[Any],
        pump: str,
        *,
        terms: Terms,
        contact: Contact,
        on_beat: Callable[[Backlog], None],
        word: bytes = b"",
    ) -> None:
        self._client: Any = connect(url)
        self._beat = self._client.register_script(script_text("beat"))
        self._sweep = self._client.register_script(script_text("sweep"))
        self._leave = self._client.register_script(script_text("leave"))
        self._head = tuple(head)
        self._pump, self._word = pump, word
        self._terms = terms
        self._contact = contact
        self._on_beat = on_beat
        #: Asked before each beat: whether whoever is cared for is gone and has not said so.
        self.is_orphaned: Callable[[], bool] = lambda: False
        self._hurry = Event()
        self._is_stopping = False
        #: When the lease was last renewed (`time.monotonic`).
        self.renewed_at = 0.0
        self._thread: Thread | None = None
        #: Held while it starts, and while it stops: whoever started it may have given up.
        self._changing = Lock()

    def start(self) -> None:
        """Beat once, then go on in a thread; nothing once it was stopped.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        with self._changing:
            if self._is_stopping:
                return
            self._tick()
            self._thread = Thread(target=self._run, name="caretaker", daemon=True)
            self._thread.start()

    def hurry(self) -> None:
        """A retry may be due before the next beat. Safe from any thread."""
        self._hurry.set()

    def stop(self) -> int:
        """Beat no more, and give back what the pump holds; how much that was. Blocks."""
        self._is_stopping = True
        self._hurry.set()
        with self._changing:
            if self._thread is not None:
                self._thread.join()
            return self._leave_all()

    def _leave_all(self) -> int:
        try:
            with translated(self._contact.where):
                return int(self._leave(args=(*self._head, "p", self._pump)))
        except BackendError:
            # Whoever has Redis takes it over when the lease ends.
            return 0
        finally:
            disconnect(self._client)

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            self._hurry.wait(pause_s)
            self._hurry.clear()
            if self._is_stopping:
                return
            if self.is_orphaned():
                count = self._leave_all()
                log.warning(
                    "event loop closed before a stop", extra={"action": "leave", "count": count}
                )
                return
            started = time.monotonic()
            try:
                pause_s = self._tick()
            except BackendError as exc:
                self._contact.lost(exc, since=started)
                # By now another server may be the primary.
                self._client.connection_pool.disconnect(inuse_connections=False)
                pause_s = min(self._terms.beat_s, 1.0)
            except Exception:
                # The lease is worth more than whatever this was.
                log.exception("supervision failed", extra={"action": "beat"})
                pause_s = self._terms.beat_s

    def _tick(self) -> float:
        """One beat and one sweep; seconds until the next."""
        started = time.monotonic()
        with translated(self._contact.where):
            arguments = (*self._head, "p", self._pump, self._terms.lease_ms, self._word)
            _, due_ms, waiting, publishable, lost_news, refused = self._beat(args=arguments)
            self.renewed_at = started
            publishable += self._take_over()
        hear(self._contact, refused, since=started)
        self._on_beat(Backlog(waiting, publishable, bool(lost_news)))
        due_s = int(due_ms) / 1000
        return self._terms.beat_s if due_s < 0 else min(due_s, self._terms.beat_s)

    def _take_over(self) -> int:
        terms = self._terms
        no_worker_ms = int(terms.no_worker_s * 1000)
        arguments = (terms.lease_ms, terms.max_attempts, no_worker_ms)
        moved: int = self._sweep(args=(*self._head, *arguments))
        if moved:
            log.warning("work taken over", extra={"action": "take-over", "count": moved})
        return moved
