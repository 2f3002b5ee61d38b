"""What runs inside a worker's process: one event loop, one codec, one context buffer."""

import asyncio
import logging
import os
import time
import traceback
from contextlib import nullcontext
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from celery import Celery
from msgspec import msgpack, structs

from backends import create_backend
from backends.contact import contact_with, log_of_rights
from backends.mailbox import Envelope
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch
from backends.redis.records import Outcome as Record
from pipeline.context_buffer import ContextBuffer, use_context_buffer
from pipeline.messages import ErrorCode
from pipeline.organism import Organism
from pipeline.roster import name_of
from pipeline.station import Station, hop_of
from pipeline.stations import codec_of, stations_of
from pipeline.thread_registry import ThreadRegistry, use_registry
from pipeline.tracing import flush, spans_of_process
from pipeline.worker import Call, Completed, Failed, Outcome, TimeLimitError, run_call
from tasks.batch import Batch, BatchKeeper
from tasks.events import (
    EventSender,
    failed_event,
    received_event,
    sent_event,
    started_event,
    succeeded_event,
)
from tasks.identity import owner_id, worker_notes
from tasks.lifeline import ending_at_once
from tasks.pace import Pace
from tasks.rest import FIRST_REST_S, LONGEST_REST_S
from tasks.run_tally import shared_tally
from tasks.time_limit import TimeLimit

if TYPE_CHECKING:
    from pipeline.spans import HopSpan

log = logging.getLogger(__name__)


class Runtime:
    """Claims dispatches, runs their handlers, hands their outcomes in. Used by one thread."""

    def __init__(self, app: Celery, organism: Organism, node: str) -> None:
        # The worker's main process says when Redis is away; one voice is enough. What our user may
        # not do it need not hear of: it runs other scripts.
        logging.getLogger("backends.contact").setLevel(logging.ERROR)
        log_of_rights.setLevel(logging.WARNING)
        contact_with.cache_clear()
        self._owner = owner_id()
        self._codec = codec_of(organism)
        self._stations = stations_of(organism, self._codec)
        self._backend = create_backend(organism.backend)
        use_context_buffer(ContextBuffer(self._backend, self._codec))
        use_registry(ThreadRegistry(self._backend))
        self._ledger = LedgerClient(organism.backend, self._codec, organism.celery.terms)
        self._queue = organism.celery.queue
        self._budget_s = organism.celery.batch_budget_ms / 1000
        self._pace = Pace(self._budget_s)
        self._max_bytes = organism.limits.max_hop_bytes
        self._loop = asyncio.Runner()
        self._limit = TimeLimit()
        self._keeper = BatchKeeper()
        self._events = EventSender(app, node)
        self._notes = worker_notes()
        self._spans = spans_of_process()
        self._tally = shared_tally()
        self._has_refused, self._rest_s = False, 0.0

    def run(self, name: str, listener: str, batch_ids: str) -> None:
        """Run a batch to its end, but what is done, another's, or has to wait; then what waits.

        Args:
            name: of the task that carried it.
            listener: whose task that is.
        """
        self._notes.begin()
        try:
            late = self._run_batch(name, listener, batch_ids)
        finally:
            self._notes.end()
        for dispatch_id in late:
            log.warning("late outcome dropped", extra={"action": "complete", "id": dispatch_id})
        if self._has_refused:
            self._has_refused = False
            self._rest_s = min(max(2 * self._rest_s, FIRST_REST_S), LONGEST_REST_S)
            time.sleep(self._rest_s)

    def close(self) -> None:
        """The process ends: monitors hear what they have not heard."""
        self._events.close()

    def _run_batch(self, name: str, listener: str, batch_ids: str) -> list[str]:
        """Whose outcome came too late."""
        members = self._ledger.claim(self._owner, batch_ids)
        batch = Batch(
            self._ledger,
            self._owner,
            members,
            listener=listener,
            budget_s=self._budget_s,
            wanted=partial(self._pace.size, listener),
            keeper=self._keeper,
        )
        try:
            with ending_at_once() if self._notes.is_shared else nullcontext():
                for dispatch_id, dispatch in batch.members():
                    self._run(batch, name, dispatch_id, dispatch)
        finally:
            self._keeper.keep(None)
            self._notes.running("")
            batch.flush()
        return batch.late

    def _run(self, batch: Batch, name: str, dispatch_id: str, dispatch: Dispatch) -> None:
        station = self._stations.get(dispatch.envelope.to)
        if station is None or station.fingerprint != dispatch.fingerprint:
            batch.stay()
            self._refuse(dispatch_id, dispatch, is_known=station is not None)
            return
        self._rest_s = 0.0
        self._notes.running(dispatch_id)
        # What no message brought, no pump has told of.
        if batch.has_fetched(dispatch_id):
            self._events.send(sent_event(dispatch_id, name, self._queue))
        self._events.send(received_event(dispatch_id, name), started_event(dispatch_id))
        span = self._enter(batch, dispatch_id, dispatch.envelope)
        try:
            outcome = self._outcome(dispatch_id, dispatch.envelope, station, span)
            self._pace.observe(station.listener.name, outcome.duration_s)
            envelope = dispatch.envelope if span is None else span.envelope
            record = self._record(envelope, outcome)
            if len(record.body) > self._max_bytes:
                text = f"its replies are larger than limits.max_hop_bytes ({self._max_bytes})"
                call = station.call(envelope)
                outcome = call.failed(ErrorCode.BAD_RETURN, text, is_retryable=False)
                record = self._record(envelope, outcome)
            if span is not None:
                span.end(outcome)
        finally:
            if span is not None:
                span.leave()
        batch.done(dispatch_id, record)
        self._count(station, outcome)
        if isinstance(outcome, Failed):
            self._events.send(failed_event(dispatch_id, f"HandlerFailed({outcome.error.code})"))
        else:
            self._events.send(succeeded_event(dispatch_id, outcome.duration_s))

    def _refuse(self, dispatch_id: str, dispatch: Dispatch, *, is_known: bool) -> None:
        log.warning(
            "dispatch refused",
            extra={
                "action": "release",
                "listener": name_of(dispatch.envelope.to),
                "reason": "declared differently here" if is_known else "unknown here",
            },
        )
        self._ledger.release(self._owner, [dispatch_id], dispatch.fingerprint)
        self._has_refused = True

    def _enter(self, batch: Batch, dispatch_id: str, envelope: Envelope) -> "HopSpan | None":
        if self._spans is None:
            return None
        # What has killed a process travels alone from then on.
        deaths = self._ledger.deaths(dispatch_id) if batch.size == 1 else 0
        return self._spans.enter(envelope, batch_size=batch.size, deaths=deaths)

    def _outcome(
        self, dispatch_id: str, envelope: Envelope, station: Station, span: "HopSpan | None"
    ) -> Outcome:
        call = station.call(envelope)

        if call.timeout_s is None:
            return self._run_call(call)

        def give_up(late: Outcome) -> None:
            self._give_up(dispatch_id, envelope, late, span)

        try:
            with self._limit.watch(call, give_up):
                return self._run_call(call)
        except TimeLimitError:
            # It struck after the handler's last step.
            return call.overran(call.timeout_s)

    def _run_call(self, call: Call) -> Outcome:
        try:
            return run_call(call, self._codec, self._loop)
        except TimeLimitError:
            # It struck between two steps of the loop, which is of no more use.
            self._renew_loop()
            return call.overran(call.timeout_s or 0.0)
        except BaseException as exc:  # noqa: BLE001 - anything but a time limit
            # The loop lets some through from any task of it. No signal of ours raises them; and
            # a claim whose process lives on would never be taken over.
            self._renew_loop()
            text = "".join(traceback.format_exception_only(exc)).strip()
            return call.failed(ErrorCode.RAISED, text)

    def _renew_loop(self) -> None:
        self._loop.close()
        self._loop = asyncio.Runner()

    def _give_up(
        self, dispatch_id: str, envelope: Envelope, outcome: Outcome, span: "HopSpan | None"
    ) -> None:
        """The handler can't be stopped: say so in its place, from another thread."""
        if span is not None:
            span.end(outcome)
            envelope = span.envelope
        self._ledger.twin().complete(self._owner, {dispatch_id: self._record(envelope, outcome)})
        self._count(self._stations[envelope.to], outcome)
        self._events.send(failed_event(dispatch_id, "HandlerFailed(timeout)"))
        self._events.drain()
        if span is not None:
            flush()

    def _count(self, station: Station, outcome: Outcome) -> None:
        if self._tally is not None:
            is_failed = isinstance(outcome, Failed)
            self._tally.add(station.listener.name, outcome.duration_s, is_failed=is_failed)

    def _record(self, envelope: Envelope, outcome: Outcome) -> Record:
        hop = hop_of(envelope, self._codec, outcome)
        if isinstance(outcome, Completed):
            # Only what may be tried again is needed again.
            envelope = structs.replace(envelope, payload=b"")
        return Record(envelope, msgpack.encode(outcome), hop)


_runtimes: dict[int, Runtime] = {}
_making = Lock()


def close_runtime() -> None:
    """Close this process's own, if it has one."""
    runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()


def runtime_of(app: Celery, organism: Organism, node: str) -> Runtime:
    """This process's own; made at the first call."""
    runtime = _runtimes.get(os.getpid())
    if runtime is None:
        with _making:
            # What a process inherited from its parent is not its own.
            _runtimes.clear()
            runtime = _runtimes[os.getpid()] = Runtime(app, organism, node)
    return runtime
