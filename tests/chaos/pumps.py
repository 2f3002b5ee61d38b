"""A pump in a process of its own, as its caller sees it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

#: What is asked: `id`, which is the message's as well, `to`, and the payload's fields.
Order = dict[str, Any]

#: Seconds a pump may take to end when it was told to.
_END_S = 15.0


class Said(NamedTuple):
    """A line that a pump wrote: its own id, or an answer."""

    pump: "PumpProcess"
    line: dict[str, Any]


class PumpProcess:
    """Runs *module*; what it says goes to a queue.

    Args:
        organism: the file; the log is written beside it.
        said: everything the pump says, answers and its id.
        module: what is run.
    """

    def __init__(
        self,
        organism: Path,
        said: "SimpleQueue[Said]",
        environment: Mapping[str, str] | None = None,
        *,
        module: str = "tests.chaos.pump",
    ) -> None:
        #: The pump's own, once it runs.
        self.id = ""
        #: What it was asked and has not answered, by id.
        self.open: dict[str, Order] = {}
        self.log_path = organism.with_name(f"pump-{time.monotonic_ns()}.log")
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(organism)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )
        self._said = said
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace")

    def ask(self, order: Order) -> None:
        """Have it ask, and answer, unless it is dead."""
        self.open[order["id"]] = order
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Ask nothing more, and wait until it is gone."""
        with suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                # A pump that is killed may leave half a line.
                with suppress(json.JSONDecodeError):
                    told = json.loads(line)
                    self.id = told.get("pump", self.id)
                    self._said.put(Said(self, told))
