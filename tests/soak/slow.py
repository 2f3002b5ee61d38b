"""Whoever reads slowly: a pipe that nobody reads for a while, a subscriber that sleeps."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

import yaml

from tests.soak.handlers import LISTENERS
from tests.soak.memory import Sampler, resident_mib
from tests.soak.pump import FILLER

#: What a command may have, beyond what it has idle, for all that is held: lines in flight and
#: their answers.
MOST_MORE_MIB = 64.0
#: The subscriber's pause at each event.
_NAP_S = 0.001

_SUBSCRIBED = """
import asyncio, sys, time
from pathlib import Path
from pipeline import StreamPump
from tests.soak.handlers import Load

async def main():
    lines, told = int(sys.argv[2]), []
    async with StreamPump.from_file(sys.argv[1]) as pump:
        idle = int(Path("/proc/self/statm").read_text().split()[1]) * 4
        def slow(event):
            time.sleep(float(sys.argv[3]))
            told.append(None) if type(event).__name__ == "HandlerFinished" else None
        pump.subscribe(slow)
        for number in range(lines):
            await pump.inject("pass", Load(number, "x" * 200))
        await pump.join()
    print(len(told))
    print(idle)

asyncio.run(main())
"""


@dataclass
class Slow:
    """What became of lines whose answers, or events, were read slowly."""

    name: str
    lines: int
    answered: int
    in_order: bool
    #: Whoever brings more had to wait.
    is_held: bool
    idle_mib: float
    peak_mib: float

    @property
    def is_good(self) -> bool:
        """Each came, in its order, and memory has an end."""
        is_whole = self.lines == self.answered and self.in_order and self.is_held
        return is_whole and self.peak_mib - self.idle_mib < MOST_MORE_MIB

    def __str__(self) -> str:
        order = "in order" if self.in_order else "OUT OF ORDER"
        return (
            f"{self.name}: {self.lines} lines, {self.answered} came {order};"
            f" {self.idle_mib:.0f} MiB idle, {self.peak_mib:.0f} MiB at most"
        )


def slow(lines: int, *, messages: int, stall_s: float) -> list[Slow]:
    """Both: with so many lines for the pipe, and messages for the subscriber."""
    return [unread_pipe(lines, stall_s=stall_s), sleeping_subscriber(messages)]


def unread_pipe(lines: int, *, stall_s: float) -> Slow:
    """`pump run` writes to a pipe that nobody reads for so long."""
    with tempfile.TemporaryDirectory(prefix="pump-slow-") as folder:
        command = ["-m", "pipeline.cli.main", "run", str(_organism(Path(folder))), "--to", "pass"]
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with _ended(process), Sampler({"run": _of(process)}, sample_s=0.05) as sampler:
            assert process.stdin is not None
            assert process.stdout is not None
            _feed(process.stdin, range(1))
            numbers = [json.loads(process.stdout.readline())["number"]]
            idle_mib = resident_mib(process.pid)
            feeder = Thread(target=_feed, args=(process.stdin, range(1, lines), True), daemon=True)
            feeder.start()
            time.sleep(stall_s)
            is_held = feeder.is_alive()
            numbers += [json.loads(line)["number"] for line in process.stdout]
            feeder.join()
        return Slow(
            f"a pipe unread for {stall_s:.0f} s",
            lines,
            len(numbers),
            numbers == list(range(lines)),
            is_held,
            idle_mib=idle_mib,
            peak_mib=sampler.peak("run"),
        )


def sleeping_subscriber(messages: int) -> Slow:
    """Whoever is told of each event sleeps; the pump waits for it."""
    with tempfile.TemporaryDirectory(prefix="pump-slow-") as folder:
        arguments = [str(_organism(Path(folder))), str(messages), str(_NAP_S)]
        process = subprocess.Popen(
            [sys.executable, "-c", _SUBSCRIBED, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with _ended(process), Sampler({"run": _of(process)}, sample_s=0.05) as sampler:
            assert process.stdout is not None
            told = int(process.stdout.readline())
            assert process.stdin is not None
            first = int(process.stdout.readline())
        return Slow(
            f"a subscriber that sleeps {_NAP_S * 1000:.0f} ms at each event",
            messages,
            told,
            in_order=True,
            is_held=True,
            idle_mib=first / 1024,
            peak_mib=sampler.peak("run"),
        )


def _organism(folder: Path) -> Path:
    """In memory: what is slow is on this side of any backend."""
    file = folder / "organism.yaml"
    listeners = [each for each in LISTENERS if not each["cpu_bound"]]
    file.write_text(yaml.safe_dump({"organism": {"name": "slow"}, "listeners": listeners}))
    return file


def _feed(stdin: IO[bytes], numbers: range, ends: bool = False) -> None:  # noqa: FBT001, FBT002
    # A command that has failed is told by what it did not answer.
    with suppress(BrokenPipeError):
        for number in numbers:
            stdin.write(json.dumps({"number": number, "filler": FILLER}).encode() + b"\n")
        stdin.flush()
        if ends:
            stdin.close()


def _of(process: "subprocess.Popen[bytes]") -> Callable[[], float]:
    return lambda: resident_mib(process.pid)


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
