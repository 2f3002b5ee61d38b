"""Runs every line of a source through one listener, and writes the answers in their order.

What is held at a time is bounded in lines and in bytes, so memory does not grow with
the input. A line counts as held from its reading until its answer is written.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from backends.errors import BackendClosedError, BackendError, BackendUnavailableError
from pipeline.cli.endpoints import Sink, Source
from pipeline.cli.jsonl import BadLineError, Line, PayloadReader, answer_line
from pipeline.cli.reporting import Report
from pipeline.errors import HandlerError, PipelineError, PumpStoppedError
from pipeline.organism import Organism
from pipeline.pump import StreamPump

#: Bytes of lines and of unwritten answers held at a time; one line may be more.
MAX_HELD_BYTES = 64 * 1024**2
#: JSON may take so much more than the payload's own encoding, mostly for its escapes.
MAX_LINE_FACTOR = 4
LINE_SLACK_BYTES = 1024
#: Seconds the lines that were not run are counted for, after an interrupt.
COUNTING_S = 2.0


class Window:
    """Counts what is held, and lets one caller wait while that is too much."""

    def __init__(self, *, lines: int, max_bytes: int) -> None:
        self._max_lines = lines
        self._max_bytes = max_bytes
        self._lines = 0
        self._bytes = 0
        self._freed = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Hold one line more, once there is room; a line alone always has room."""
        while self._lines and not self._has_room(size):
            self._freed.clear()
            await self._freed.wait()
        self._lines += 1
        self._bytes += size

    def _has_room(self, size: int) -> bool:
        return self._lines < self._max_lines and self._bytes + size <= self._max_bytes

    def grow(self, size: int) -> None:
        """An answer of *size* bytes is held as well."""
        self._bytes += size

    def leave(self, size: int) -> None:
        """A line, and with its answer *size* bytes, are held no longer."""
        self._lines -= 1
        self._bytes -= size
        self._freed.set()


@dataclass(frozen=True, slots=True)
class Done:
    """One line's end: its answer, or what went wrong."""

    line: int
    #: Of the line.
    size: int
    answer: bytes = b""
    error: str = ""
    traceback: str = ""


class Stream:
    """One job over one pump; `run` it once.

    Args:
        to: the listener that gets every line.
        reader: of that listener's payloads.
    """

    def __init__(  # noqa: PLR0913 - its parts, put together in one place
        self,
        pump: StreamPump,
        to: str,
        *,
        reader: PayloadReader,
        source: Source,
        sink: Sink,
        report: Report,
    ) -> None:
        self._pump = pump
        self._to = to
        self._reader = reader
        self._source = source
        self._sink = sink
        self._report = report
        self._tally = report.tally
        limits = pump.organism.limits
        self._max_payload_bytes = limits.max_payload_bytes
        self._window = Window(lines=window_lines(pump.organism), max_bytes=MAX_HELD_BYTES)
        #: Lines whose answer is not written, by number, in their order; the window bounds them.
        self._held: dict[int, asyncio.Task[Done]] = {}
        self._changed = asyncio.Event()
        self._is_fed = False
        self._count_until = float("inf")
        self._is_draining = False

    async def run(self) -> None:
        """Run every line, or those that were taken before `drain`.

        Raises:
            OSError: input or output failed.
            BackendError: the backend is gone.
        """
        self._sink.clear()
        feeding = asyncio.create_task(self._feed(), name="read lines")
        try:
            await self._deliver()
            await feeding
        finally:
            self._source.wake()
            tasks = [feeding, *self._held.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for number in self._held:
                self._tally.leave_out(number)

    def drain(self) -> None:
        """Take no more lines; those in flight finish."""
        self._is_draining = True
        self._count_until = time.monotonic() + COUNTING_S
        self._source.wake()

    async def _feed(self) -> None:
        try:
            async for line in self._lines():
                await self._window.enter(line.size)
                if self._is_draining:
                    self._window.leave(line.size)
                    self._tally.leave_out(line.number)
                else:
                    self._start(line)
        finally:
            self._is_fed = True
            self._changed.set()

    async def _lines(self) -> AsyncIterator[Line]:
        """Every line to be run; those after a `drain` are only counted, as far as time allows."""
        async for line in self._source.lines():
            if line.is_blank:
                continue
            if not self._is_draining:
                yield line
            elif time.monotonic() < self._count_until:
                self._tally.leave_out(line.number)
            else:
                return
        self._tally.saw_end = not self._is_draining or self._source.size is not None

    def _start(self, line: Line) -> None:
        self._held[line.number] = asyncio.create_task(self._finish(line))
        self._changed.set()

    async def _finish(self, line: Line) -> Done:
        """Run one line to its end.

        Raises:
            BackendUnavailableError, BackendClosedError, PumpStoppedError: so would the next.
        """
        try:
            answer = answer_line(await self._pump.request(self._to, self._payload(line)))
        except HandlerError as exc:
            error = f"{exc.listener}: {exc}"
            return Done(line.number, line.size, error=error, traceback=exc.traceback)
        except (BackendUnavailableError, BackendClosedError, PumpStoppedError):
            raise
        except (PipelineError, BackendError) as exc:
            return Done(line.number, line.size, error=str(exc))
        self._window.grow(len(answer))
        return Done(line.number, line.size, answer)

    def _payload(self, line: Line) -> Any:
        if line.data is None:
            raise BadLineError(f"too long for limits.max_payload_bytes ({self._max_payload_bytes})")
        return self._reader.read(line.data)

    async def _deliver(self) -> None:
        """Write what is done, in the order of the lines."""
        while (head := await self._head()) is not None:
            await head
            batch = self._take_done()
            await asyncio.to_thread(self._write, batch)
            for done in batch:
                self._window.leave(done.size + len(done.answer))

    async def _head(self) -> asyncio.Task[Done] | None:
        """The first line that is not written; None when there will be no more."""
        while not self._held and not self._is_fed:
            self._changed.clear()
            await self._changed.wait()
        return next(iter(self._held.values()), None)

    def _take_done(self) -> list[Done]:
        """The lines that can be written now: those done with none before them that is not."""
        done = [task.result() for task in takewhile(asyncio.Task.done, self._held.values())]
        for each in done:
            del self._held[each.line]
        return done

    def _write(self, batch: list[Done]) -> None:
        failures = [(each.line, each.error, each.traceback) for each in batch if each.error]
        self._sink.write(b"".join(done.answer for done in batch))
        self._report.failed(failures)
        self._tally.add(
            answers=len(batch) - len(failures),
            errors=len(failures),
            read_bytes=sum(done.size for done in batch),
        )
        self._report.advance()


def window_lines(organism: Organism) -> int:
    """How many lines may be in flight: as many as the pump's door lets in at once."""
    return min(organism.backend.max_threads, organism.limits.max_waiting)


def max_line_bytes(organism: Organism) -> int:
    """Bytes of a line that is read at all; whether its payload fits is seen at the door."""
    return MAX_LINE_FACTOR * organism.limits.max_payload_bytes + LINE_SLACK_BYTES
