"""Runs hops: takes messages, starts their handlers, has settled what comes of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

from backends.cancelling import cancel_all
from backends.mailbox import Envelope, Ledger, Mailbox, Returned, Work
from pipeline.announcer import Announcer, fields
from pipeline.errors import PipelineError
from pipeline.executors.protocol import Dispatcher, Executor
from pipeline.messages import ErrorCode
from pipeline.roster import name_of
from pipeline.scheduling import Lane, Order, ReadyQueue
from pipeline.settling import Run, Settler, logged_faults, outcome_of
from pipeline.station import Station
from pipeline.worker import Outcome, failure_of

if TYPE_CHECKING:
    from pipeline.spans import Spans

log = logging.getLogger(__name__)

#: Seconds one task may run handlers that never wait before it lets others run.
MAX_BURST_S = 0.001

#: True in the tasks that run handlers, and in what they start.
inside_handler: ContextVar[bool] = ContextVar("inside_handler", default=False)


class Place(NamedTuple):
    """Where one listener's messages go on this pump."""

    station: Station
    executor: Executor
    #: Where they wait until they may start.
    lane: "Lane[Turn]"
    #: Where hops are handed over, if the executor's workers are elsewhere.
    ledger: Ledger | None = None
    #: The executor, if its workers are elsewhere.
    dispatcher: Dispatcher | None = None


Turn = tuple[Place, Envelope]


class HopRunner:
    """Keeps every free place busy. Used from one event loop."""

    def __init__(  # noqa: PLR0913 - one argument a part
        self,
        mailbox: Mailbox,
        settler: Settler,
        announcer: Announcer,
        *,
        order: Order,
        place_of: Callable[[str], Place | None],
        spans: "Spans | None" = None,
    ) -> None:
        self._mailbox = mailbox
        self._settler = settler
        self._announcer = announcer
        self._place_of = place_of
        self._spans = spans
        self._ready: ReadyQueue[Turn] = ReadyQueue(order)
        self._running: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        #: What has run elsewhere and come back, and what settles those before.
        self._returned: list[Run] = []
        self._concluding: asyncio.Task[None] | None = None
        #: What every handler's task starts with, whatever others have set in theirs.
        self._context = copy_context()
        self._is_draining = False
        #: Handlers are being cancelled.
        self._is_cancelling = False

    @property
    def waiting(self) -> int:
        """Messages taken whose handler has not started."""
        return self._ready.count

    def runs_in(self, task: "asyncio.Task[Any] | None") -> bool:
        """Whether *task* is one of those that run handlers."""
        return task in self._running

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
        try:
            if self._feeder is not None:
                await cancel_all([self._feeder])
            if self._running and drain:
                await asyncio.wait(self._running, timeout=timeout_s)
        finally:
            # Whoever gives up waiting for them ends them too.
            self._is_cancelling = True
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        return len(self._ready.drain())

    async def close(self) -> None:
        """Take no more for sure: `stop` may have been cancelled."""
        if self._feeder is not None:
            await cancel_all([self._feeder])

    async def _feed(self) -> None:
        while True:
            apart = self._admit_all(await self._mailbox.take(self._room()))
            if apart:
                await self._see_to(apart)
            if self._returned:
                await self._conclude_returned()
            self._start_ready()

    async def _conclude_returned(self) -> None:
        """Have settled what has come back, while the next is being taken."""
        if self._concluding is not None and not self._concluding.done():
            await asyncio.wait([self._concluding])
        runs, self._returned = self._returned, []
        self._concluding = asyncio.create_task(self._settler.conclude_all(runs), name="settle")
        self._running.add(self._concluding)
        self._concluding.add_done_callback(self._running.discard)

    def _room(self) -> int:
        return max(1, self._mailbox.window - self._ready.count)

    def _admit_all(self, works: list[Work]) -> list[Coroutine[Any, Any, None]]:
        """Line up *works*; what is to be done with those that are for no handler here."""
        return [action for work in works if (action := self._admit(work)) is not None]

    async def _see_to(self, apart: list[Coroutine[Any, Any, None]]) -> None:
        """Do all of *apart*, and line up what that brings about at once.

        So the order of starting is the organism's, not that of our own steps.
        """
        while apart:
            if len(apart) == 1:
                await apart[0]
            else:
                await asyncio.gather(*apart)
            apart = self._admit_all(self._mailbox.take_ready(self._room()))

    def _admit(self, work: Work) -> Coroutine[Any, Any, None] | None:
        """Line *work* up for its handler; or what is to be done with it instead."""
        if isinstance(work, Envelope):
            envelope, returned = work, None
        elif isinstance(work, Returned):
            envelope, returned = work.envelope, work
        else:
            return _guarded(self._settler.gathering(work), work.reply_to)
        place = self._place_of(envelope.to)
        if place is None:
            reason = f"no listener is called {name_of(envelope.to)!r}"
            return _guarded(self._settler.undeliverable(envelope, reason), envelope)
        if returned is not None:
            if place.dispatcher is not None and returned.hop is not None:
                place.dispatcher.observe(place.station.listener.name, returned.hop.duration_s)
            outcome = outcome_of(returned, place.station)
            run = Run(place.station, envelope, outcome, returned.hop, returned.history)
            self._returned.append(run)
            return None
        if place.ledger is not None:
            self._announcer.started(envelope)
            return _guarded(place.ledger.dispatch(envelope, place.station.fingerprint), envelope)
        self._ready.add(place.lane, (place, envelope), is_outer=envelope.is_from_outside)
        return None

    def _start_ready(self) -> None:
        while not self._is_draining:
            turn = self._ready.pop()
            if turn is None:
                break
            self._spawn(turn)
        self._announcer.room()

    def _spawn(self, turn: Turn) -> None:
        task = asyncio.create_task(self._work(turn), context=self._context.copy())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _work(self, turn: Turn | None) -> None:
        """Run one hop after another in one task, as long as each leaves no trace in it."""
        inside_handler.set(True)
        untouched, task = copy_context(), asyncio.current_task()
        breathe_at = time.monotonic() + MAX_BURST_S
        while turn is not None:
            place, envelope = turn
            try:
                await self._hop(place, envelope)
            finally:
                place.lane.leave()
            works = self._mailbox.take_ready(self._room())
            if works and (apart := self._admit_all(works)):
                await self._see_to(apart)
            turn = self._next_turn(is_all=not works)
            if turn is not None and (_is_cancelled(task) or copy_context() != untouched):
                self._spawn(turn)
                turn = None
            elif time.monotonic() > breathe_at:
                # Handlers that never wait must not keep the loop from everybody else.
                await asyncio.sleep(0)
                breathe_at = time.monotonic() + MAX_BURST_S

    def _next_turn(self, *, is_all: bool) -> Turn | None:
        """Who takes the place that a hop left, unless nobody may.

        Args:
            is_all: that place is all that has become free since others were started.
        """
        turn = None if self._is_draining else self._ready.pop()
        if is_all:
            self._announcer.room()
        else:
            self._start_ready()
        return turn

    async def _hop(self, place: Place, envelope: Envelope) -> None:
        station, task = place.station, asyncio.current_task()
        call = station.call(envelope)
        span = None if self._spans is None else self._spans.enter(envelope)
        try:
            self._announcer.started(envelope)
            try:
                outcome = await place.executor.run(call)
                if _is_cancelled(task):
                    # What its handler has neither awaited nor caught is raised here.
                    await asyncio.sleep(0)
            except PipelineError as exc:
                outcome = call.failed(ErrorCode.WORKER_LOST, str(exc))
            except (asyncio.CancelledError, GeneratorExit) as exc:
                if self._is_ending or not _is_current(task):
                    raise
                # A handler may cancel the task that it runs in, or a library of its.
                outcome = failure_of(call, exc, 0.0)
            except Exception as exc:
                # Somebody else's executor broke its contract; the caller must not wait for ever.
                log.exception("executor failed", extra=fields("run", envelope))
                outcome = call.failed(ErrorCode.WORKER_LOST, f"its executor failed: {exc!r}")
            if span is not None:
                envelope = span.finish(outcome)
            await self._conclude(station, envelope, outcome)
        except Exception:
            # A fault of ours, not the handler's: one hop must not take the pump with it.
            log.exception("hop failed", extra=fields("settle", envelope))
        finally:
            if span is not None:
                span.leave()

    async def _conclude(self, station: Station, envelope: Envelope, outcome: Outcome) -> None:
        while True:
            try:
                await self._settler.conclude(station, envelope, outcome)
            except asyncio.CancelledError:
                # Of its handler's doing, it must not keep the outcome back: if it was applied
                # already, the mailbox notices.
                if self._is_ending or not _is_cancelled(asyncio.current_task()):
                    raise
            else:
                return

    @property
    def _is_ending(self) -> bool:
        """Whether handlers are cancelled by the pump, or by the end of its event loop."""
        if self._is_draining:
            return self._is_cancelling
        return _is_cancelled(self._feeder)


def _is_cancelled(task: "asyncio.Task[Any] | None") -> bool:
    return task is not None and task.cancelling() > 0


def _is_current(task: "asyncio.Task[Any] | None") -> bool:
    """False while its coroutine is being closed, for nobody runs it any more."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:
        return False


async def _guarded(action: Coroutine[Any, Any, None], envelope: Envelope) -> None:
    with logged_faults(envelope):
        await action
