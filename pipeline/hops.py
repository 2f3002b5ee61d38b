"""Runs hops: takes messages, starts their handlers, has settled what comes of them."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

from backends.cancelling import cancel_all
from backends.mailbox import Envelope, Gathering, Ledger, Mailbox, Returned, Work
from pipeline.announcer import Announcer, fields
from pipeline.errors import PipelineError
from pipeline.executors.protocol import Dispatcher, Executor
from pipeline.messages import ErrorCode
from pipeline.roster import name_of
from pipeline.scheduling import Lane, Order, ReadyQueue
from pipeline.settling import Settler
from pipeline.station import Station
from pipeline.worker import Call, Outcome

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

    def __init__(
        self,
        mailbox: Mailbox,
        settler: Settler,
        announcer: Announcer,
        *,
        order: Order,
        place_of: Callable[[str], Place | None],
    ) -> None:
        self._mailbox = mailbox
        self._settler = settler
        self._announcer = announcer
        self._place_of = place_of
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
            await cancel_all([self._feeder])
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
            apart = [action for work in works if (action := self._admit(work)) is not None]
            if len(apart) == 1:
                await apart[0]
            elif apart:
                await asyncio.gather(*apart)
            works = self._mailbox.take_ready(self._room())

    def _admit(self, work: Work) -> Coroutine[Any, Any, None] | None:
        """Line *work* up for its handler; or what is to be done with it instead."""
        if isinstance(work, Gathering):
            return _guarded(self._settler.gathering(work), work.reply_to)
        envelope = work.envelope if isinstance(work, Returned) else work
        place = self._place_of(envelope.to)
        if place is None:
            reason = f"no listener is called {name_of(envelope.to)!r}"
            return _guarded(self._settler.undeliverable(envelope, reason), envelope)
        if isinstance(work, Returned):
            if place.dispatcher is not None and work.hop is not None:
                place.dispatcher.observe(place.station.listener.name, work.hop.duration_s)
            return _guarded(self._settler.returned(place.station, work), envelope)
        if place.ledger is not None:
            self._announcer.started(work)
            return _guarded(place.ledger.dispatch(work, place.station.fingerprint), work)
        self._ready.add(place.lane, (place, work), is_outer=work.is_from_outside)
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
        untouched = copy_context()
        breathe_at = time.monotonic() + MAX_BURST_S
        while turn is not None:
            place, envelope = turn
            try:
                await self._hop(place, envelope)
            finally:
                place.lane.leave()
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

    async def _hop(self, place: Place, envelope: Envelope) -> None:
        call = place.station.call(envelope)
        try:
            self._announcer.started(envelope)
            outcome = await _run(place.executor, call)
            await self._settler.conclude(place.station, envelope, outcome)
        except Exception:
            # A fault of ours, not the handler's: one hop must not take the pump with it.
            log.exception("hop failed", extra=fields("settle", envelope))


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


async def _guarded(action: Coroutine[Any, Any, None], envelope: Envelope) -> None:
    try:
        await action
    except Exception:
        # A fault of ours: one message must not take the pump with it.
        log.exception("hop failed", extra=fields("settle", envelope))
