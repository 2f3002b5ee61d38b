"""Runs handlers in local processes, so that they use every core.

One `concurrent.futures` pool of a single process per place: when a process dies, by
its own fault or because its handler ran out of time, one call is hit and no other.
"""

import asyncio
import os
import signal
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import ProcessPoolExecutor as SingleProcess
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, get_context, resource_tracker
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.executors.pool_child import (
    SIGNALS,
    ChildSetup,
    Ticket,
    adopt,
    outcome_decoder,
    prepare,
    run_ticket,
    ticket_encoder,
)
from pipeline.messages import ErrorCode
from pipeline.worker import Call, Outcome

if TYPE_CHECKING:
    from pipeline.spans import Spans

#: Calls a process holds at a time: one runs, the next is there when it ends.
CALLS_PER_PROCESS = 2

#: Children are forked from a clean server process, so no thread of the pump's is copied.
_context = get_context("forkserver")
_context.set_forkserver_preload(["pipeline.executors.pool_child"])


class PoolStartError(PipelineError):
    """A pool process could not import the organism's modules or reach its backend."""


@dataclass(eq=False)
class _Job:
    call: Call
    #: Its place in the order of calls of its process, from 1.
    number: int = 0
    started: float = 0.0


class _Process:
    """One child process from its start to its end."""

    def __init__(self, setup: ChildSetup) -> None:
        self._begun = _context.RawValue("L", 0)
        self._pool = SingleProcess(1, _context, initializer=adopt, initargs=(self._begun,))
        self._jobs: deque[_Job] = deque()
        #: What the child has not returned, whether or not anybody waits for it.
        self._unreturned: set[Future[bytes]] = set()
        self._overran: _Job | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.calls = 0
        self.is_dead = False
        try:
            self._pid = self._pool.submit(prepare, setup).result()
        except Exception as exc:
            self._pool.shutdown(wait=False)
            raise PoolStartError(f"a pool process could not start: {exc}") from exc

    @property
    def load(self) -> int:
        """Calls it holds."""
        return len(self._jobs)

    @property
    def is_busy(self) -> bool:
        """True while the child runs a call, be it one that was given up here."""
        return bool(self._unreturned)

    async def run(self, call: Call, trace: bytes | None) -> Outcome | None:
        """Run one call; None if the process died and the call had no part in it."""
        self.calls += 1
        job = _Job(call, self.calls)
        try:
            future = self._pool.submit(run_ticket, _encode(call, trace))
        except BrokenProcessPool:
            self.is_dead = True
            return None
        self._unreturned.add(future)
        future.add_done_callback(self._unreturned.discard)
        self._jobs.append(job)
        self._watch()
        try:
            data: bytes = await asyncio.wrap_future(future)
            return outcome_decoder.decode(data)
        except BrokenProcessPool:
            self.is_dead = True
            return self._post_mortem(job)
        finally:
            self._jobs.remove(job)
            self._watch()

    def _post_mortem(self, job: _Job) -> Outcome | None:
        if job.number > self._begun.value:
            return None
        duration_s = time.monotonic() - job.started
        if self._overran is job:
            return job.call.overran(duration_s)
        if self._overran is not None:
            return None
        message = f"the process that ran {job.call.listener} died"
        return job.call.failed(ErrorCode.WORKER_LOST, message, duration_s=duration_s)

    def _watch(self) -> None:
        """Start the clock of the call whose turn it is."""
        head = self._jobs[0] if self._jobs else None
        if head is not None and head.started:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if head is None:
            return
        head.started = time.monotonic()
        if head.call.timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(head.call.timeout_s, self._overrun, head)

    def _overrun(self, job: _Job) -> None:
        self._overran = job
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self.is_dead = True
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def join(self) -> None:
        """Take no more calls, and block until the process has ended."""
        self._pool.shutdown(wait=True)


class _Place:
    """Where one process runs; replaced when it dies or has served its time."""

    def __init__(self, setup: ChildSetup, max_calls: int) -> None:
        self._setup = setup
        self._max_calls = max_calls
        self._process: _Process | None = None
        self._retired: dict[_Process, asyncio.Task[None]] = {}
        self._booting = asyncio.Lock()
        self.load = 0

    async def boot(self) -> _Process:
        """The process, or a new one in its place."""
        async with self._booting:
            process = self._process
            if process is not None and (process.is_dead or self._has_served(process)):
                joining = asyncio.create_task(asyncio.to_thread(process.join))
                self._retired[process] = joining
                joining.add_done_callback(lambda _: self._retired.pop(process, None))
                self._process = None
            if self._process is None:
                self._process = await asyncio.to_thread(_Process, self._setup)
            return self._process

    def _has_served(self, process: _Process) -> bool:
        return bool(self._max_calls) and process.calls >= self._max_calls

    async def run(self, call: Call, trace: bytes | None) -> Outcome:
        """Run one call; again, uncounted, where its process died before its turn."""
        self.load += 1
        try:
            outcome: Outcome | None = None
            while outcome is None:
                process = await self.boot()
                outcome = await process.run(call, trace)
            return outcome
        finally:
            self.load -= 1

    async def stop(self) -> None:
        """Kill what still runs, and wait until every process has ended."""
        process, self._process = self._process, None
        processes = [*self._retired, *([process] if process else [])]
        for each in processes:
            if each.is_busy:
                each.kill()
        await asyncio.gather(*(asyncio.to_thread(each.join) for each in processes))
        await asyncio.gather(*self._retired.values())


class ProcessPoolExecutor:
    """An `Executor` over local processes.

    Args:
        setup: what each process is told once.
        workers: how many processes.
        max_tasks_per_child: calls after which a process is replaced; 0 for never.
        spans: what made the span that is current where `run` is called.
    """

    def __init__(
        self,
        setup: ChildSetup,
        *,
        workers: int,
        max_tasks_per_child: int,
        spans: "Spans | None" = None,
    ) -> None:
        self._spans = spans
        self.places = workers * CALLS_PER_PROCESS
        self._places = [_Place(setup, max_tasks_per_child) for _ in range(workers)]
        self._free = asyncio.Semaphore(self.places)

    async def start(self) -> None:
        """Start every process.

        Raises:
            PoolStartError: one of them can't import the organism or reach its backend.
        """
        _start_server()
        try:
            await asyncio.gather(*(place.boot() for place in self._places))
        except PoolStartError:
            await self.stop()
            raise

    async def run(self, call: Call) -> Outcome:
        """Run one handler in the least busy process.

        Raises:
            PoolStartError: a process that died can't be replaced.
        """
        async with self._free:
            place = min(self._places, key=lambda place: place.load)
            trace = None if self._spans is None else self._spans.current()
            return await place.run(call, trace)

    async def stop(self) -> None:
        """End every process."""
        await asyncio.gather(*(place.stop() for place in self._places))


def _start_server() -> None:
    """Start the server that forks the children, deaf to what asks a whole process group to end.

    It hands that down, so a child is deaf from birth. What comes meanwhile is not lost.
    """
    # First by itself: it would let the signals through again.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _encode(call: Call, trace: bytes | None) -> bytes:
    handler = call.handler
    return ticket_encoder.encode(
        Ticket(
            call.listener,
            handler.__module__,
            handler.__qualname__,
            call.payload,
            call.metadata,
            trace,
        )
    )


__all__ = ["CALLS_PER_PROCESS", "PoolStartError", "ProcessPoolExecutor"]
