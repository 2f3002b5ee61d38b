"""What a worker's main process does beside Celery's own work: a thread that keeps the ledger.

It renews the worker's lease, puts back what dead processes held, and sees to it that a
worker told to stop does.
"""

import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from celery import Celery

from backends.contact import unquoted
from backends.errors import BackendError, BackendUnavailableError
from backends.redis.agreement import agree_on_keys, word_of
from backends.redis.keys import escape
from backends.redis.ledger import NONE_BEGUN, LedgerClient, ids_in
from pipeline.organism import Organism
from pipeline.station import host, place
from pipeline.stations import codec_of, stations_of
from tasks.broker import TIMEOUT_S
from tasks.endings import ending_of
from tasks.events import EventSender, failed_event
from tasks.identity import new_worker_id, worker_notes
from tasks.rest import Rest

log = logging.getLogger(__name__)

#: Seconds a worker that holds no more work may take to end by itself.
PATIENCE_S = 4.0


class Supervisor:
    """Keeps one worker's lease; made in the worker's main process."""

    def __init__(self, app: Celery, organism: Organism, node: str) -> None:
        self._organism = organism
        self._worker = new_worker_id()
        self._app, self._node = app, node
        self._events: EventSender | None = None
        self._notes = worker_notes()
        self._codec = codec = codec_of(organism)
        self._advert: dict[str, str | int | bytes] = {
            f"f{station.fingerprint}": 1 for station in stations_of(organism, codec).values()
        }
        self._advert["k"] = word_of(codec)
        self._is_over = Event()
        terms = organism.celery.terms
        self._ledger = LedgerClient(organism.backend, codec, terms, is_stopping=self._is_over)
        self._beat_s = terms.beat_s
        self._wakeup = Event()
        self._thread: Thread | None = None
        self._pool: Any = None
        self._unknown: deque[str] = deque()
        self._rest = Rest()
        #: When this worker was told to stop; 0 until then.
        self._told_at = 0.0
        #: Others have been told whose key we have.
        self._has_agreed = False
        self._has_handed_over = False
        #: When Redis last did not answer.
        self._missed_at = -math.inf
        self._last_signal_at = 0.0
        #: For those who watch: when the lease was last renewed (`time.monotonic`), how many
        #: processes held a dispatch then, and how many have died with one.
        self.renewed_at, self.busy, self.deaths = 0.0, 0, 0

    def knock(self) -> None:
        """End at once where Redis or our keys will never do; one that is away is waited for later.

        Celery would quote what such a server says, and that may be a password.

        Raises:
            SystemExit: with the reason.
        """
        try:
            agree_on_keys(self._organism.backend, self._codec, self._ledger.terms)
            self._has_agreed = True
        except BackendUnavailableError:
            return
        except BackendError as exc:
            raise SystemExit(str(exc)) from None
        with self._app.connection_for_write() as broker:
            try:
                broker.ensure_connection(max_retries=1, timeout=TIMEOUT_S)
            except Exception as exc:  # noqa: BLE001 - kombu passes on what its libraries raise
                text = unquoted(str(exc))
                if text != str(exc):
                    raise SystemExit(f"broker {broker.as_uri()} failed: {text}") from None

    def admit(self, pause: Callable[[float], None]) -> bool:
        """Whether this worker may take work: those that run use a key it has. Blocks.

        Asked whenever the broker is reached: Redis may have been away as this worker started, or
        for so long that others have started since, who took it for dead.

        Args:
            pause: waits for some seconds; may raise to end the worker.

        Returns:
            False while Redis does not answer.

        Raises:
            SystemExit: the key is another; nothing has been taken.
        """
        started = time.monotonic()
        try:
            agree_on_keys(
                self._organism.backend,
                self._codec,
                self._ledger.terms,
                is_told=not self._has_agreed,
                pause=pause,
                oneself=f"w:{self._worker}",
            )
        except BackendUnavailableError as exc:
            self._ledger.contact.lost(exc, since=started)
            return False
        except BackendError as exc:
            raise SystemExit(str(exc)) from None
        self._ledger.contact.answered(since=started)
        self._has_agreed = True
        return True

    def start(self, pool: Any) -> None:
        """Take a lease and go on renewing it, in a thread."""
        self._pool = pool
        self._advert |= {"node": self._node, "host": host(), "pid": os.getpid()}
        self._events = EventSender(self._app, self._node)
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """A process may have died. Safe from any thread, and from a signal's handler."""
        self._wakeup.set()

    def refuse(self, batch_ids: str) -> None:
        """A message came for a listener this worker does not know."""
        self._unknown.append(batch_ids)
        self.hurry()

    def retire(self) -> None:
        """The worker was told to stop: it takes nothing more."""
        self._told_at = self._told_at or time.monotonic()
        self.hurry()

    def stop(self) -> None:
        """Give back whatever the worker holds, and its lease."""
        self._is_over.set()
        self.hurry()
        if self._thread is not None:
            self._thread.join()
        try:
            given_back = self._ledger.leave(self._worker)
            log.info("worker left", extra={"action": "leave", "count": given_back})
        except BackendError as exc:
            log.warning("worker left without word", extra={"action": "leave", "reason": str(exc)})
        finally:
            self._ledger.close()

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            self._wakeup.wait(pause_s)
            self._wakeup.clear()
            if self._is_over.is_set():
                return
            started = time.monotonic()
            try:
                self._tick()
                pause_s = self._beat_s
                self._ledger.contact.answered(since=started)
            except BackendUnavailableError as exc:
                self._ledger.contact.lost(exc, since=started)
                self._missed_at = time.monotonic()
                pause_s = min(self._beat_s, 1.0)
            except Exception:
                # The lease is worth more than whatever this was.
                log.exception("supervision failed", extra={"action": "beat"})
                pause_s = self._beat_s
            if self._unknown:
                pause_s = min(pause_s, self._rest.left_s)
            if self._told_at:
                self._see_to_the_end()
                pause_s = min(pause_s, PATIENCE_S / 4)

    def _tick(self) -> None:
        processes = len(processes_of(self._pool)) if not self._told_at else 0
        started = time.monotonic()
        self._ledger.beat(self._worker, self._advert | {"p": processes})
        self.renewed_at = started
        idle = {pid: self._notes.idle_turn(pid) for pid in processes_of(self._pool)}
        # In this order: what holds a dispatch was alive before it is looked for.
        claims = self._ledger.claims_of(self._worker)
        self.busy = len(claims)
        live = processes_of(self._pool)
        # In this order: a pool that is there now was there when we looked.
        dead = claims.keys() - live if self._has_pool() else None
        if dead:
            self._bury({pid: self._suspect(pid, claims[pid]) for pid in dead}, claims)
        for pid, turn in idle.items():
            if pid in claims and turn is not None and turn == self._notes.idle_turn(pid):
                self._disclaim(pid, claims[pid])
        if self._told_at and not self._has_handed_over:
            self._ledger.publish_again()
            self._has_handed_over = True
        if self._unknown and self._rest.left_s <= 0:
            self._rest.begin()
            # What comes right back meanwhile waits for the next rest.
            for _ in range(len(self._unknown)):
                self._refuse(self._unknown.popleft())

    def _suspect(self, pid: int, claims: list[bytes]) -> str:
        """What a dead process was running, as `bury` takes it."""
        running = self._notes.of(pid)
        if running is None or (not running and len(claims) == 1):
            # Whatever kills who claims it must not do so for ever.
            return ""
        return running or NONE_BEGUN

    def _bury(self, dead: dict[int, str], claims: dict[int, list[bytes]]) -> None:
        # Celery's own time limit ends a process whose run has ended, and which waits for Redis.
        was_away = time.monotonic() - self._missed_at < self._organism.celery.lease_s
        is_counted = not self._told_at and not was_away
        places = {pid: f"{place(pid)} {ending_of(pid)}".rstrip() for pid in dead}
        count = self._ledger.bury(self._worker, dead, places, is_counted=is_counted)
        self.deaths += len(dead)
        told = ", ".join(places.values())
        log.warning("processes died: %s", told, extra={"action": "bury", "count": count})
        if self._events is not None:
            for pid, running in dead.items():
                # What it had handed in, its end takes nothing from.
                if escape(running).encode() in claims[pid]:
                    self._events.send(failed_event(running, _lost(ending_of(pid))))

    def _disclaim(self, pid: int, claims: list[bytes]) -> None:
        """It has held nothing since before we asked: Redis has lost how these ended."""
        count = self._ledger.disclaim(self._worker, pid, claims)
        log.warning("claims without work", extra={"action": "release", "count": count})

    def _has_pool(self) -> bool:
        """False once the main process has taken its pool apart; then `stop` is near."""
        return getattr(self._pool, "_pool", self._pool) is not None

    def _refuse(self, batch_ids: str) -> None:
        if not ids_in(batch_ids):
            return
        owner = f"{self._worker}/{os.getpid()}"
        # As a whole, or it would count as published, and come again and again.
        for claimed, dispatch in self._ledger.claim(owner, batch_ids):
            self._ledger.release(owner, [claimed], dispatch.fingerprint)

    def _see_to_the_end(self) -> None:
        """Ask again, and more firmly, once nothing runs any more or the grace period is over."""
        now = time.monotonic()
        is_overdue = now - self._told_at > self._organism.celery.grace_s
        is_done = now - self._told_at > PATIENCE_S and self._is_idle()
        if (is_overdue or is_done) and now - self._last_signal_at > PATIENCE_S:
            self._last_signal_at = now
            os.kill(os.getpid(), signal.SIGQUIT)

    def _is_idle(self) -> bool:
        try:
            return not self._ledger.claims_of(self._worker)
        except BackendError:
            return False


def _lost(ending: str) -> str:
    return f"WorkerLostError('the process that ran it died{f': {ending}' if ending else ''}')"


def processes_of(pool: Any) -> set[int]:
    """The ids of those that live. Safe from any thread."""
    try:
        found = pool.info.get("processes", ())
    except AttributeError:
        # Taken apart meanwhile, or not yet put together.
        return set()
    # One that replaces another has no id for a moment.
    return {pid for pid in found if pid}
