"""What runs inside a worker's process: one event loop, one codec, one context buffer."""

import asyncio
import logging
import os
from collections.abc import Sequence

from msgspec import msgpack, structs

from backends import create_backend
from backends.contact import contact_with
from backends.errors import BackendError
from backends.mailbox import Envelope
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch
from backends.redis.records import Outcome as Record
from pipeline.context_buffer import ContextBuffer, use_context_buffer
from pipeline.messages import ErrorCode
from pipeline.organism import Organism
from pipeline.roster import name_of
from pipeline.station import hop_of
from pipeline.stations import codec_of, stations_of
from pipeline.thread_registry import ThreadRegistry, use_registry
from pipeline.worker import Call, Completed, Outcome, TimeLimitError, run_handler
from tasks.identity import owner_id
from tasks.time_limit import TimeLimit

log = logging.getLogger(__name__)


class Runtime:
    """Claims dispatches, runs their handlers, hands their outcomes in. Used by one thread."""

    def __init__(self, organism: Organism) -> None:
        # The worker's main process says when Redis is away; one voice is enough.
        logging.getLogger("backends.contact").setLevel(logging.ERROR)
        contact_with.cache_clear()
        self._owner = owner_id()
        self._codec = codec_of(organism)
        self._stations = stations_of(organism, self._codec)
        self._backend = create_backend(organism.backend)
        use_context_buffer(ContextBuffer(self._backend, self._codec))
        use_registry(ThreadRegistry(self._backend))
        self._ledger = LedgerClient(organism.backend, self._codec, organism.celery.terms)
        self._loop = asyncio.Runner()
        self._limit = TimeLimit()

    def run(self, dispatch_ids: Sequence[str]) -> list[Outcome | None]:
        """Run each dispatch to its end; None where there was nothing for this process to run."""
        claimed = self._ledger.claim(self._owner, dispatch_ids)
        return [
            self._run(dispatch_id, dispatch) if dispatch else None
            for dispatch_id, dispatch in zip(dispatch_ids, claimed, strict=True)
        ]

    def _run(self, dispatch_id: str, dispatch: Dispatch) -> Outcome | None:
        envelope = dispatch.envelope
        station = self._stations.get(envelope.to)
        if station is None or station.fingerprint != dispatch.fingerprint:
            log.warning(
                "dispatch refused",
                extra={
                    "action": "release",
                    "listener": name_of(envelope.to),
                    "reason": "unknown here" if station is None else "declared differently here",
                },
            )
            self._ledger.release(self._owner, dispatch_id, dispatch.fingerprint)
            return None
        call = station.call(envelope)
        try:
            with self._limit.watch(call, lambda late: self._give_up(dispatch_id, envelope, late)):
                outcome = self._outcome(call)
        except TimeLimitError:
            # It struck after the handler's last step.
            outcome = call.overran(call.timeout_s or 0.0)
        try:
            is_first = self._hand_in(self._ledger, dispatch_id, envelope, outcome)
        except BackendError as exc:
            text = f"its outcome can't be stored: {exc}"
            outcome = call.failed(ErrorCode.BAD_RETURN, text, is_retryable=False)
            is_first = self._hand_in(self._ledger, dispatch_id, envelope, outcome)
        if not is_first:
            log.warning("late outcome dropped", extra={"action": "complete", "id": dispatch_id})
        return outcome

    def _outcome(self, call: Call) -> Outcome:
        try:
            return self._loop.run(run_handler(call, self._codec))
        except TimeLimitError:
            # It struck between two steps of the loop, which is of no more use.
            self._loop.close()
            self._loop = asyncio.Runner()
            return call.overran(call.timeout_s or 0.0)

    def _give_up(self, dispatch_id: str, envelope: Envelope, outcome: Outcome) -> None:
        """The handler can't be stopped: say so in its place, from another thread."""
        ledger = self._ledger.twin()
        self._hand_in(ledger, dispatch_id, envelope, outcome)

    def _hand_in(
        self, ledger: LedgerClient, dispatch_id: str, envelope: Envelope, outcome: Outcome
    ) -> bool:
        hop = hop_of(envelope, self._codec, outcome)
        if isinstance(outcome, Completed):
            envelope = structs.replace(envelope, payload=b"")
        return ledger.complete(
            self._owner, dispatch_id, Record(envelope, msgpack.encode(outcome), hop)
        )


_runtimes: dict[int, Runtime] = {}


def runtime_of(organism: Organism) -> Runtime:
    """This process's own; made at the first call."""
    # What a process inherited from its parent is not its own.
    if os.getpid() not in _runtimes:
        _runtimes.clear()
        _runtimes[os.getpid()] = Runtime(organism)
    return _runtimes[os.getpid()]
