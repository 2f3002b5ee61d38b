"""`pump run` as tests drive it: an organism to run, and the command as a process."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PUMP = [sys.executable, "-m", "pipeline.cli.main"]

HANDLERS = """
import asyncio, enum, os, sys, time
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from pipeline import HandlerResponse

@dataclass
class Number:
    n: int

class Colour(enum.Enum):
    RED = "red"

@dataclass
class Rich:
    when: datetime
    id: UUID
    price: Decimal
    colour: Colour
    inner: Number
    more: list[Number] = field(default_factory=list)
    by_name: dict[str, Number] = field(default_factory=dict)
    maybe: Number | None = None

    def __post_init__(self):
        if self.inner.n < 0:
            raise ValueError(f"secret {self.inner.n}")

@dataclass
class Opaque:
    pairs: dict[tuple[int, int], int]

async def echo(payload, metadata):
    return HandlerResponse.respond(payload)

async def late_first(payload, metadata):
    await asyncio.sleep(0.2 / payload.n)
    return HandlerResponse.respond(payload)

async def noisy(payload, metadata):
    print("noise")
    return HandlerResponse.respond(payload)

async def moody(payload, metadata):
    if payload.n == 1:
        raise ValueError("not\\none")
    if payload.n == 2:
        return None
    if payload.n == 3:
        return HandlerResponse.respond(Opaque({(1, 2): 3}))
    return HandlerResponse.respond(payload)

def wait_for_gate(payload, metadata):
    Path(f"begun.{payload.n}").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return HandlerResponse.respond(payload)
"""

ORGANISM = """
organism: {name: demo}
backend: {max_threads: 1000}
process_pool: {workers: 1}
limits: {max_payload_bytes: 1000}
listeners:
  - {name: echo, payload_class: handlers.Number, handler: handlers.echo}
  - {name: rich, payload_class: handlers.Rich, handler: handlers.echo}
  - {name: late-first, payload_class: handlers.Number, handler: handlers.late_first}
  - {name: noisy, payload_class: handlers.Number, handler: handlers.noisy}
  - {name: moody, payload_class: handlers.Number, handler: handlers.moody}
  - {name: thread, payload_class: handlers.Number, handler: handlers.wait_for_gate}
"""
CPU_BOUND = """
  - {name: gate, payload_class: handlers.Number, handler: handlers.wait_for_gate, cpu_bound: true}
"""
RICH = (
    '{"when":"2026-01-02T03:04:05Z","id":"12345678-1234-5678-1234-567812345678","price":"1.10",'
    '"colour":"red","inner":{"n":1},"more":[{"n":2}],"by_name":{"a":{"n":3}},"maybe":null}\n'
)
#: msgspec's own words.
TOO_BIG = "can't serialize ints < -2**63 or > 2**64 - 1"
NO_SUCH_KEYS = "Only dicts with str-like or number-like keys are supported"


def numbers(last: int) -> str:
    return "".join(f'{{"n":{n}}}\n' for n in range(1, last + 1))


def run(folder: Path, *args: str, lines: str | bytes = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PUMP, "run", *args],
        cwd=folder,
        env=environment(),
        input=lines.encode() if isinstance(lines, str) else lines,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def environment() -> dict[str, str]:
    """Ours, without what names an organism."""
    return {name: value for name, value in os.environ.items() if name != "ORGANISM"}


class Running:
    """The command in a session of its own, with pipes to it."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [*PUMP, "run", *args],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def interrupt(self, number: signal.Signals) -> None:
        """As a terminal or a supervisor does it: to every process at once."""
        os.killpg(self.process.pid, number)

    def read_error(self) -> str:
        """The next line of stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def read_answer(self) -> str:
        """The next line of stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def send(self, lines: str) -> None:
        """Write to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(lines)
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout and stderr from here on."""
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors

    def survivors(self) -> list[int]:
        """Processes of its session that still live."""
        return [pid for pid in _processes() if _session(pid) == self.process.pid]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _session(pid: int) -> int | None:
    """The session of a process; None for one that is gone, or dead and not yet reaped."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(session)


def begun(folder: Path, *wanted: int) -> bool:
    return all((folder / f"begun.{n}").exists() for n in wanted)


def without_seconds(text: str) -> str:
    """The same, however long it took."""
    return re.sub(r"[\d.]+ s", "0 s", text)
