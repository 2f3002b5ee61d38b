"""Processes that one command starts, shows and ends: each by its id, none left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

#: Each part's colour on a terminal, in the order they were started.
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")
#: Seconds between two looks at whether a part still runs.
LOOK_S = 0.05
#: What a part still writes is shown for so many seconds after its end.
LAST_WORDS_S = 1.0


@dataclass
class Part:
    """One process of the whole."""

    name: str
    command: Sequence[str]
    #: Where people look at it.
    link: str = ""
    #: True where the others go on without it.
    is_optional: bool = False
    process: "subprocess.Popen[str] | None" = None
    #: True from when nobody cares any more.
    is_muted: bool = False
    _relay: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """0 before it has started."""
        return self.process.pid if self.process else 0

    @property
    def has_ended(self) -> bool:
        """True when it was started and runs no more."""
        return self.process is not None and self.process.poll() is not None

    def start(self, *, width: int, colour: str) -> None:
        """Start it; what it writes is shown behind its name, a line at a time."""
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for us to pass on, once.
            process_group=0,
        )
        prefix = f"{self.name:<{width}} | "
        if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            prefix = click.style(prefix, fg=colour)
        self._relay = threading.Thread(target=self._show, args=(prefix,), daemon=True)
        self._relay.start()

    def _show(self, prefix: str) -> None:
        if self.process is None or self.process.stdout is None:
            return
        try:
            for line in self.process.stdout:
                if line.strip() and not self.is_muted:
                    click.echo(prefix + line.rstrip())
        except (OSError, ValueError):
            # Closed on either side: nobody reads us, or it was given up.
            return

    def finish(self) -> None:
        """Show the last of what it wrote, now that it has ended."""
        if self._relay is not None:
            self._relay.join(LAST_WORDS_S)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


class Told:
    """How often we were told to stop: by Ctrl-C, a supervisor, or a terminal that closes."""

    def __init__(self) -> None:
        self._signals: list[int] = []
        #: How many there were when we said what one more would do; 0 until then.
        self.announced = 0

    @property
    def count(self) -> int:
        """Signals so far."""
        return len(self._signals)

    @property
    def first(self) -> int:
        """The first of them.

        Raises:
            IndexError: there is none.
        """
        return self._signals[0]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Count signals, instead of ending by them."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        former = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = float("inf")) -> bool:
    """True as soon as *condition* holds; false when it does not within *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True


def end(parts: Sequence[Part], told: Told, *, patience_s: float) -> None:
    """Tell every part to stop; kill those that still run after *patience_s*, or one signal more."""
    running = [part.process for part in parts if part.process is not None]
    for process in running:
        process.terminate()
    # One that comes between the announcement and this moment is one more.
    so_far = told.announced or told.count
    wait_until(
        lambda: all(process.poll() is not None for process in running) or told.count > so_far,
        timeout_s=patience_s,
    )
    for process in running:
        process.kill()
        process.wait()
    for part in parts:
        part.finish()
