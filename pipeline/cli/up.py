"""`pump up`: everything an organism needs, in one terminal, until Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.redis.connection import connect, describe, disconnect
from pipeline.cli.options import load, organism_argument
from pipeline.cli.servers import redis_for_us
from pipeline.cli.worker import check_worker, worker_command
from pipeline.organism import Organism
from tasks.application import VARIABLE

OK, FAILED = 0, 1

#: Each part's colour on a terminal.
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "red")
#: Seconds a part may take to end by itself, beyond the workers' grace period.
PATIENCE_S = 5.0
FLOWER_PORT = 5555


@dataclass
class Part:
    """One process of the whole."""

    name: str
    command: list[str]
    link: str = ""
    process: "subprocess.Popen[str] | None" = None

    @property
    def pid(self) -> int:
        """0 before it has started."""
        return self.process.pid if self.process else 0


@click.command()
@organism_argument
@click.option(
    "--workers", type=click.IntRange(min=1), default=2, show_default=True, help="How many."
)
@click.option("--flower-port", type=int, default=FLOWER_PORT, show_default=True)
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
def up(*, file: Path, workers: int, flower_port: int, command: tuple[str, ...]) -> int:
    """Run everything an organism needs: Redis, workers, a pump, and Flower if it is installed.

    Redis is the one $REDIS_URL names, else a private server on loopback that keeps its data
    in memory and ends with us. The organism's file takes it from ${REDIS_URL}. One log shows
    all of them; Ctrl-C ends all of them. When one ends by itself, so do the others, and the
    exit code is 1.

    With COMMAND, that takes the pump's place and has the terminal to itself: workers show
    warnings only, and everything ends when it does, with its exit code.
    """
    with ExitStack() as stack:
        os.environ["REDIS_URL"] = stack.enter_context(redis_for_us())
        organism = load(file)
        check_worker(organism)
        os.environ |= {VARIABLE: str(file.resolve()), "PYTHONUNBUFFERED": "1"}
        parts = [*_workers(organism, workers, "WARNING" if command else "INFO")]
        if not command:
            parts += _pump_and_flower(file, flower_port)
        told = stack.enter_context(_told_to_stop())
        stack.callback(_end, parts, organism.celery.grace_s + PATIENCE_S)
        for part, colour in zip(parts, COLOURS * len(parts), strict=False):
            _start(part, colour)
        if command:
            return _run_to_its_end(command, parts, told)
        _show(organism, parts)
        return _watch(parts, told)


def _watch(parts: list[Part], told: threading.Event) -> int:
    """Wait until told to stop, or until a part ends by itself."""
    while not told.wait(0.2):
        ended = _ended(parts)
        if ended is not None:
            click.echo(f"{ended.name} ended by itself; so does everything else", err=True)
            return FAILED
    return OK


def _run_to_its_end(command: tuple[str, ...], parts: list[Part], told: threading.Event) -> int:
    """Run *command* while the parts run; its exit code, as a shell tells it."""
    try:
        process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - the user's own
    except OSError as exc:
        raise click.ClickException(f"{command[0]}: {exc.strerror}") from exc
    is_told = False
    while process.poll() is None:
        if told.wait(0.05) and not is_told:
            is_told = True
            process.send_signal(signal.SIGINT)
        ended = _ended(parts)
        if ended is not None:
            click.echo(f"{ended.name} ended by itself; so does everything else", err=True)
            process.terminate()
            process.wait()
            return FAILED
        if is_told:
            time.sleep(0.05)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _ended(parts: list[Part]) -> Part | None:
    return next((part for part in parts if part.process and part.process.poll() is not None), None)


def _workers(organism: Organism, count: int, loglevel: str) -> Iterator[Part]:
    for number in range(1, count + 1):
        yield Part(f"worker-{number}", worker_command(organism, None, loglevel))


def _pump_and_flower(file: Path, flower_port: int) -> Iterator[Part]:
    yield Part("pump", [sys.executable, "-m", "pipeline.cli.main", "run", str(file)])
    if find_spec("flower") is not None:
        command = [sys.executable, "-m", "celery", "-A", "tasks", "flower"]
        options = ["--address=127.0.0.1", f"--port={flower_port}", "--logging=warning"]
        yield Part("flower", [*command, *options], f"http://127.0.0.1:{flower_port}")


def _start(part: Part, colour: str) -> None:
    part.process = subprocess.Popen(  # noqa: S603 - our own command
        part.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Ctrl-C is for us to pass on, once.
        start_new_session=True,
    )
    reader = threading.Thread(target=_relay, args=(part, colour), daemon=True)
    reader.start()


def _relay(part: Part, colour: str) -> None:
    """Show what a part writes, behind its name."""
    if part.process is None or part.process.stdout is None:
        return
    prefix = f"{part.name:<9}| "
    if sys.stdout.isatty():
        prefix = click.style(prefix, fg=colour)
    for line in part.process.stdout:
        if line.strip():
            click.echo(prefix + line.rstrip())


def _show(organism: Organism, parts: list[Part]) -> None:
    client = connect(organism.backend.redis_url)
    where = describe(client).removeprefix("redis at ")
    disconnect(client)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Part", "Process", "Where"):
        table.add_column(name)
    table.add_row("redis", "", where)
    for part in parts:
        table.add_row(part.name, str(part.pid), part.link)
    console = Console(highlight=False)
    console.print(Text(f"{organism.name} is up; Ctrl-C ends it", style="bold"))
    console.print(table)


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    former = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _end(parts: list[Part], patience_s: float) -> None:
    """Tell every part to stop, wait, and kill what does not."""
    running = [part.process for part in reversed(parts) if part.process]
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
