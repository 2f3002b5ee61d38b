"""Settles hops: what a handler's outcome does to the system, applied by the mailbox."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from msgspec import msgpack, structs

from backends.codec import Codec, decoded
from backends.errors import BackendClosedError, BackendError, CodecError
from backends.mailbox import (
    Effects,
    Envelope,
    Gathering,
    Hop,
    Letter,
    Mailbox,
    Returned,
    Settlement,
)
from pipeline.announcer import Announcer, fields
from pipeline.deaths import endings_in
from pipeline.messages import ErrorCode, ErrorMessage
from pipeline.roster import name_of
from pipeline.routing import HopRefusedError, Router
from pipeline.station import Station, hop_of, lost_hop_of
from pipeline.worker import Completed, Outcome

if TYPE_CHECKING:
    from pipeline.spans import Spans

log = logging.getLogger(__name__)

#: Seconds beyond which a retry's delay no longer grows.
MAX_BACKOFF_S = 60.0

_outcomes: msgpack.Decoder[Outcome] = msgpack.Decoder(Outcome)
_History = list[tuple[str, float]]


class Run(NamedTuple):
    """A handler's run that has ended, here or elsewhere."""

    station: Station
    envelope: Envelope
    outcome: Outcome
    hop: Hop | None
    #: Of deaths that came before.
    history: _History


class _Applying(NamedTuple):
    """A settlement on its way."""

    settlement: Settlement
    effects: Awaitable[Effects]


class _Remains(NamedTuple):
    """What is kept of a hop, besides what it sent."""

    hop: Hop | None = None
    letter: Letter | None = None


class logged_faults:  # noqa: N801 - reads as what it does
    """Log a fault of ours, not the handler's: one message must not take the pump with it."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(exc, Exception):
            return False
        log.error("hop failed", extra=fields("settle", self._envelope), exc_info=exc)
        return True


class Settler:
    """Applies outcomes. Used from one event loop."""

    def __init__(
        self,
        mailbox: Mailbox,
        router: Router,
        announcer: Announcer,
        codec: Codec,
        *,
        spans: "Spans | None" = None,
    ) -> None:
        self._mailbox = mailbox
        self._router = router
        self._announcer = announcer
        self._codec = codec
        self._spans = spans

    async def conclude(self, station: Station, envelope: Envelope, outcome: Outcome) -> None:
        """A handler ran here."""
        hop = hop_of(envelope, self._codec, outcome) if self._mailbox.is_durable else None
        run = Run(station, envelope, outcome, hop, [])
        if isinstance(outcome, Completed):
            try:
                settlement = self._plan(run, outcome)
                effects = await self._mailbox.settle(settlement)
            except (HopRefusedError, BackendError) as exc:
                run = self._refused(run, exc)
            else:
                self._announcer.finished(envelope, outcome.duration_s, hop)
                self._announcer.settled(settlement, effects)
                return
        await self._fail(run)

    async def conclude_all(self, runs: Sequence[Run]) -> None:
        """Handlers ran elsewhere, or could not; what they returned is applied together."""
        begun: list[tuple[Run, _Applying | None]] = []
        for run in runs:
            with logged_faults(run.envelope):
                begun.append(self._begin(run))
        failed = [run for run, applying in begun if applying is None]
        for run, applying in begun:
            if applying is not None:
                with logged_faults(run.envelope):
                    failed += await self._end(run, applying)
        if failed:
            await asyncio.gather(*map(self._fail_guarded, failed))

    async def undeliverable(self, envelope: Envelope, reason: str) -> None:
        """A message can't reach a handler."""
        error = ErrorMessage(
            ErrorCode.UNDELIVERABLE, reason, name_of(envelope.to), envelope.attempt
        )
        await self._dead_letter(envelope, error, None, [])

    async def gathering(self, gathering: Gathering) -> None:
        """All members of a scatter are done."""
        try:
            await self._apply(self._router.plan_gathering(gathering))
        except BackendError as exc:
            _raise_if_stopped(exc)
            # The error takes the gathering's place in the mailbox.
            await self._settle_error(gathering, _undeliverable(gathering.reply_to, str(exc)))

    def _plan(self, run: Run, outcome: Completed) -> Settlement:
        settlement = self._router.plan(run.envelope, outcome.replies)
        return settlement if run.hop is None else _kept(settlement, _Remains(run.hop))

    def _begin(self, run: Run) -> tuple[Run, _Applying | None]:
        """Have applied what a handler returned; nothing where it failed, or returned nonsense."""
        if isinstance(run.outcome, Completed):
            try:
                settlement = self._plan(run, run.outcome)
                return run, _Applying(settlement, self._mailbox.settle(settlement))
            except (HopRefusedError, BackendError) as exc:
                run = self._refused(run, exc)
        return run, None

    async def _end(self, run: Run, applying: _Applying) -> list[Run]:
        """Wait until it has been applied; the run, as a failed one, if it can't be."""
        try:
            effects = await applying.effects
        except BackendError as exc:
            return [self._refused(run, exc)]
        self._announcer.finished(run.envelope, run.outcome.duration_s, run.hop)
        self._announcer.settled(applying.settlement, effects)
        return []

    async def _fail_guarded(self, run: Run) -> None:
        with logged_faults(run.envelope):
            await self._fail(run)

    async def _fail(self, run: Run) -> None:
        station, envelope, outcome, hop, history = run
        if isinstance(outcome, Completed):
            return
        will_retry = outcome.is_retryable and envelope.attempt <= station.listener.retries
        self._announcer.failed(envelope, outcome, hop, will_retry=will_retry)
        if will_retry:
            delay_s = retry_delay_s(envelope.attempt, station.listener.backoff_s)
            # The pause before it is no wait in a queue.
            sent_at = time.time() + delay_s
            again = structs.replace(envelope, attempt=envelope.attempt + 1, sent_at=sent_at)
            await self._mailbox.defer(again, delay_s)
        elif outcome.error.code in (ErrorCode.WORKER_LOST, ErrorCode.UNDELIVERABLE):
            await self._dead_letter(envelope, outcome.error, hop, history)
        else:
            await self._settle_error(envelope, outcome.error, _Remains(hop))

    async def _dead_letter(
        self, envelope: Envelope, error: ErrorMessage, hop: Hop | None, history: _History
    ) -> None:
        self._announcer.dead_lettered(envelope, error)
        if self._spans is not None:
            envelope = self._spans.set_aside(envelope, error, history)
        letter = Letter(envelope, error.code, error.message, time.time(), history)
        if hop is None and history:
            hop = lost_hop_of(envelope, self._codec, history)
        await self._settle_error(envelope, error, _Remains(hop, letter))

    def _refused(self, run: Run, exc: HopRefusedError | BackendError) -> Run:
        """*run*, had its handler failed: what it returned can't be applied."""
        _raise_if_stopped(exc)
        outcome = run.station.call(run.envelope).failed(
            ErrorCode.BAD_RETURN,
            str(exc),
            duration_s=run.outcome.duration_s,
            is_retryable=False,
        )
        hop = structs.replace(run.hop, error=outcome.error.code) if run.hop else None
        envelope = run.envelope
        if self._spans is not None:
            envelope = self._spans.set_aside(envelope, outcome.error)
        return run._replace(envelope=envelope, outcome=outcome, hop=hop)

    async def _settle_error(
        self,
        taken: Envelope | Gathering,
        error: ErrorMessage,
        remains: _Remains | None = None,
    ) -> None:
        envelope = taken.reply_to if isinstance(taken, Gathering) else taken
        planned = structs.replace(self._router.plan_error(envelope, error), taken=taken)
        if remains is not None and self._mailbox.is_durable:
            planned = _kept(planned, remains)
        try:
            await self._apply(planned)
        except BackendError as exc:
            _raise_if_stopped(exc)
            # No room for the error's own slot: the caller is told all the same.
            log.warning("error not remembered", extra=fields("settle", envelope) | {"reason": exc})
            await self._apply(structs.replace(planned, slots=[]))

    async def _apply(self, settlement: Settlement) -> None:
        self._announcer.settled(settlement, await self._mailbox.settle(settlement))


def _kept(settlement: Settlement, remains: _Remains) -> Settlement:
    return structs.replace(settlement, hop=remains.hop, letter=remains.letter)


def outcome_of(returned: Returned, station: Station) -> Outcome:
    """What came of a dispatch, whether a worker said so or none could."""
    call = station.call(returned.envelope)
    if returned.outcome is not None:
        try:
            return decoded(_outcomes, returned.outcome, "the worker's outcome")
        except CodecError as exc:
            return call.failed(ErrorCode.UNDELIVERABLE, str(exc), is_retryable=False)
    name = station.listener.name
    if returned.reason == "killed":
        history = returned.history
        text = f"{name} killed its worker {len(history)} times{endings_in(history)}"
    else:
        text = f"no live worker runs {name} as this organism declares it"
    return call.failed(ErrorCode.WORKER_LOST, text, is_retryable=False)


def _undeliverable(envelope: Envelope, reason: str) -> ErrorMessage:
    return ErrorMessage(ErrorCode.UNDELIVERABLE, reason, name_of(envelope.to), envelope.attempt)


def _raise_if_stopped(exc: Exception) -> None:
    """Raise what says nothing about the hop: the mailbox was stopped meanwhile."""
    if isinstance(exc, BackendClosedError):
        raise asyncio.CancelledError from exc


def retry_delay_s(attempt: int, backoff_s: float) -> float:
    """Seconds to wait after *attempt* failed: doubling, capped, the later half at random.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """
    ceiling: float = min(MAX_BACKOFF_S, backoff_s * 2 ** min(attempt - 1, 32))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
