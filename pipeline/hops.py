"""Runs hops: takes messages, starts their handlers, settles what comes of them."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Protocol

from msgspec import structs

from backends import chains
from backends.errors import BackendError
from backends.mailbox import Answer, Effects, Envelope, Gathering, Mailbox, Settlement, Work
from pipeline.errors import PipelineError
from pipeline.events import (
    DeadLettered,
    Event,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    MessageSent,
    ThreadClosed,
)
from pipeline.executors.protocol import Executor
from pipeline.messages import ErrorCode, ErrorMessage, HandlerMetadata
from pipeline.organism import Listener
from pipeline.roster import name_of
from pipeline.routing import EXTERNAL, HopRefusedError, Router
from pipeline.scheduling import Lane, Order, ReadyQueue
from pipeline.worker import Call, Completed, Failed, Outcome

log = logging.getLogger(__name__)

#: Seconds beyond which a retry's delay no longer grows.
MAX_BACKOFF_S = 60.0

#: Seconds one task may run handlers that never wait before it lets others run.
MAX_BURST_S = 0.001

#: True in the tasks that run handlers, and in what they start.
inside_handler: ContextVar[bool] = ContextVar("inside_handler", default=False)


class HopObserver(Protocol):
    """Who wants to know what hops do."""

    @property
    def is_watched(self) -> bool:
        """False while nobody would see an event."""
        ...

    def emit(self, event: Event) -> None:
        """Tell subscribers."""
        ...

    def on_answer(self, scope: str, answer: Answer) -> None:
        """A message from outside was answered."""
        ...

    def on_scope_closed(self, scope: str) -> None:
        """Everything a message from outside set off has ended."""
        ...

    def on_room(self) -> None:
        """The pump may have room for more."""
        ...


class Station:
    """One listener at work: its executor, and the lane its messages wait in."""

    def __init__(self, listener: Listener, executor: Executor, lane: "Lane[Turn]") -> None:
        self.listener = listener
        self.executor = executor
        self.lane = lane
        self.own_name = listener.name if listener.agent else None
        self.usage_instructions = ""


Turn = tuple[Station, Envelope]


class HopRunner:
    """Keeps every free place busy. Used from one event loop."""

    def __init__(
        self,
        mailbox: Mailbox,
        router: Router,
        observer: HopObserver,
        *,
        order: Order,
        station_of: Callable[[str], Station | None],
    ) -> None:
        self._mailbox = mailbox
        self._router = router
        self._observer = observer
        self._station_of = station_of
        self._ready: ReadyQueue[Turn] = ReadyQueue(order)
        self._running: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        #: What every handler's task starts with, whatever others have set in theirs.
        self._context = copy_context()
        self._is_draining = False

    @property
    def waiting(self) -> int:
        """Messages taken whose handler has not started."""
        return self._ready.count

    def start(self) -> None:
        """Begin to take messages."""
        self._context = copy_context()
        self._feeder = asyncio.create_task(self._feed(), name="pump")

    async def stop(self, *, drain: bool, timeout_s: float | None) -> int:
        """Take no more; wait for running handlers or cancel them.

        Args:
            timeout_s: how long to wait before cancelling; None is without limit.

        Returns:
            How many messages had been taken and not started.
        """
        self._is_draining = True
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        if self._running and drain:
            await asyncio.wait(self._running, timeout=timeout_s)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        return len(self._ready.drain())

    async def _feed(self) -> None:
        while True:
            await self._admit_all(await self._mailbox.take(self._room()))
            self._start_ready()

    def _room(self) -> int:
        return max(1, self._mailbox.window - self._ready.count)

    async def _admit_all(self, works: list[Work]) -> None:
        """Line up *works* and what they bring about at once.

        So the order of starting is the organism's, not that of our own steps.
        """
        while works:
            for work in works:
                if isinstance(work, Envelope) and (station := self._station_of(work.to)):
                    outer = work.is_from_outside
                    self._ready.add(station.lane, (station, work), is_outer=outer)
                else:
                    await self._admit_special(work)
            works = self._mailbox.take_ready(self._room())

    async def _admit_special(self, work: Work) -> None:
        if isinstance(work, Gathering):
            await self._settle_gathering(work)
        else:
            reason = f"no listener is called {name_of(work.to)!r}"
            await self._settle_undeliverable(work, reason)

    def _start_ready(self) -> None:
        while not self._is_draining:
            turn = self._ready.pop()
            if turn is None:
                break
            self._spawn(turn)
        self._observer.on_room()

    def _spawn(self, turn: Turn) -> None:
        task = asyncio.create_task(self._work(turn), context=self._context.copy())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _work(self, turn: Turn | None) -> None:
        """Run one hop after another in one task, as long as each leaves no trace in it."""
        inside_handler.set(True)
        untouched = copy_context()
        breathe_at = time.monotonic() + MAX_BURST_S
        while turn is not None:
            station, envelope = turn
            try:
                await self._hop(station, envelope)
            finally:
                station.lane.leave()
            works = self._mailbox.take_ready(self._room())
            if works:
                await self._admit_all(works)
            turn = None if self._is_draining else self._ready.pop()
            self._start_ready()
            if turn is not None and copy_context() != untouched:
                self._spawn(turn)
                turn = None
            elif time.monotonic() > breathe_at:
                # Handlers that never wait must not keep the loop from everybody else.
                await asyncio.sleep(0)
                breathe_at = time.monotonic() + MAX_BURST_S

    async def _hop(self, station: Station, envelope: Envelope) -> None:
        call = _call(station, envelope)
        try:
            if self._observer.is_watched:
                self._observer.emit(
                    HandlerStarted(
                        envelope.conversation, envelope.thread_id, call.listener, envelope.attempt
                    )
                )
            outcome = await _run(station.executor, call)
            await self._conclude(station, envelope, call, outcome)
        except Exception:
            # A fault of ours, not the handler's: one hop must not take the pump with it.
            log.exception("hop failed", extra=_fields("settle", envelope))

    async def _conclude(
        self, station: Station, envelope: Envelope, call: Call, outcome: Outcome
    ) -> None:
        if isinstance(outcome, Completed):
            try:
                settlement = self._router.plan(envelope, outcome.replies)
                effects = await self._mailbox.settle(settlement)
            except (HopRefusedError, BackendError) as exc:
                outcome = call.failed(
                    ErrorCode.BAD_RETURN,
                    str(exc),
                    duration_s=outcome.duration_s,
                    is_retryable=False,
                )
            else:
                self._finished(envelope, call, outcome)
                self._announce(settlement, effects)
                return
        await self._fail(station, envelope, outcome)

    async def _fail(self, station: Station, envelope: Envelope, outcome: Failed) -> None:
        will_retry = outcome.is_retryable and envelope.attempt <= station.listener.retries
        log.log(
            logging.INFO if will_retry else logging.WARNING,
            "handler failed",
            extra=_fields("fail", envelope) | {"code": outcome.error.code, "retry": will_retry},
        )
        if self._observer.is_watched:
            self._observer.emit(
                HandlerFailed(
                    envelope.conversation,
                    envelope.thread_id,
                    outcome.error.listener,
                    envelope.attempt,
                    outcome.duration_s,
                    outcome.error,
                    will_retry,
                )
            )
        if will_retry:
            delay_s = retry_delay_s(envelope.attempt, station.listener.backoff_s)
            again = structs.replace(envelope, attempt=envelope.attempt + 1)
            await self._mailbox.defer(again, delay_s)
            return
        if outcome.error.code in (ErrorCode.WORKER_LOST, ErrorCode.UNDELIVERABLE):
            self._dead_letter(envelope, outcome.error)
        await self._settle_error(envelope, outcome.error)

    async def _settle_error(self, envelope: Envelope, error: ErrorMessage) -> None:
        settlement = self._router.plan_error(envelope, error)
        try:
            effects = await self._mailbox.settle(settlement)
        except BackendError as exc:
            # No room for the error's own slot: the caller is told all the same.
            log.warning("error not remembered", extra=_fields("settle", envelope) | {"reason": exc})
            settlement = self._router.plan_error(envelope, error, remember=False)
            effects = await self._mailbox.settle(settlement)
        self._announce(settlement, effects)

    async def _settle_gathering(self, gathering: Gathering) -> None:
        try:
            settlement = self._router.plan_gathering(gathering)
            effects = await self._mailbox.settle(settlement)
        except BackendError as exc:
            await self._settle_undeliverable(gathering.reply_to, str(exc))
        else:
            self._announce(settlement, effects)

    async def _settle_undeliverable(self, envelope: Envelope, reason: str) -> None:
        error = ErrorMessage(
            ErrorCode.UNDELIVERABLE, reason, name_of(envelope.to), envelope.attempt
        )
        self._dead_letter(envelope, error)
        await self._settle_error(envelope, error)

    def _finished(self, envelope: Envelope, call: Call, outcome: Completed) -> None:
        if self._observer.is_watched:
            self._observer.emit(
                HandlerFinished(
                    envelope.conversation,
                    envelope.thread_id,
                    call.listener,
                    envelope.attempt,
                    outcome.duration_s,
                )
            )

    def _dead_letter(self, envelope: Envelope, error: ErrorMessage) -> None:
        log.error("message dead-lettered", extra=_fields("dead-letter", envelope))
        if self._observer.is_watched:
            self._observer.emit(
                DeadLettered(
                    envelope.conversation,
                    envelope.thread_id,
                    error.listener,
                    envelope.attempt,
                    error,
                )
            )

    def _announce(self, settlement: Settlement, effects: Effects) -> None:
        """Tell those who wait, and those who watch, what a settlement did."""
        for scope, answer in effects.answered:
            self._observer.on_answer(scope, answer)
        for scope in effects.closed_scopes:
            self._observer.on_scope_closed(scope)
        if effects.closed_conversations:
            self._observer.on_room()
        if effects.dropped_answers:
            log.info(
                "late answer dropped",
                extra={"action": "settle", "count": effects.dropped_answers},
            )
        if self._observer.is_watched:
            for event in _events(settlement, effects):
                self._observer.emit(event)


async def _run(executor: Executor, call: Call) -> Outcome:
    """Run a call; an executor that raises has lost it."""
    try:
        return await executor.run(call)
    except PipelineError as exc:
        return call.failed(ErrorCode.WORKER_LOST, str(exc))
    except Exception as exc:
        # Somebody else's executor broke its contract; the caller must not wait for ever.
        log.exception("executor failed", extra={"action": "run", "listener": call.listener})
        return call.failed(ErrorCode.WORKER_LOST, f"its executor failed: {exc!r}")


def _call(station: Station, envelope: Envelope) -> Call:
    listener = station.listener
    metadata = HandlerMetadata(
        thread_id=envelope.thread_id,
        from_id=envelope.from_id,
        own_name=station.own_name,
        is_self_call=envelope.from_id == listener.name,
        usage_instructions=station.usage_instructions,
        attempt=envelope.attempt,
    )
    return Call(listener.name, listener.handler, envelope.payload, metadata, listener.timeout_s)


def _events(settlement: Settlement, effects: Effects) -> Iterator[Event]:
    sends = [*settlement.sends]
    for scatter in settlement.scatters:
        sends += scatter.members
    for sent in sends:
        yield MessageSent(sent.conversation, sent.thread_id, name_of(sent.to), sent.from_id)
    taken = settlement.taken
    if isinstance(taken, Envelope):
        for _ in effects.answered:
            asker = chains.initiator_of(taken.chain) or EXTERNAL
            yield MessageSent(taken.conversation, taken.thread_id, asker, name_of(taken.to))
    for conversation in effects.closed_conversations:
        yield ThreadClosed(conversation, conversation)


def retry_delay_s(attempt: int, backoff_s: float) -> float:
    """Seconds to wait after *attempt* failed: doubling, capped, the later half at random.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """
    ceiling: float = min(MAX_BACKOFF_S, backoff_s * 2 ** min(attempt - 1, 32))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


def _fields(action: str, envelope: Envelope) -> dict[str, object]:
    return {
        "action": action,
        "listener": name_of(envelope.to),
        "thread_id": envelope.thread_id,
        "message_id": envelope.id,
        "attempt": envelope.attempt,
    }
