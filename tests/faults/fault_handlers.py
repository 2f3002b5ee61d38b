"""Handlers that go wrong, in a module that any process finds."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline import HandlerMetadata, HandlerResponse


@dataclass
class Dose:
    number: int
    #: Deadly as long as there is such a file.
    poison: str = ""
    #: The status to end its process with; a SIGKILL where there is none.
    status: int | None = None


@dataclass
class Survived:
    number: int


def swallow(payload: Dose, metadata: HandlerMetadata) -> HandlerResponse:
    if payload.poison and Path(payload.poison).exists():
        if payload.status is not None:
            os._exit(payload.status)
        os.kill(os.getpid(), signal.SIGKILL)
    return HandlerResponse.respond(Survived(payload.number))


@dataclass
class Nap:
    seconds: float
    #: Where each run leaves a line.
    log: str


@dataclass
class Woken:
    runs: int


def sleep(payload: Nap, metadata: HandlerMetadata) -> HandlerResponse:
    log = Path(payload.log)
    with log.open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    time.sleep(payload.seconds)
    return HandlerResponse.respond(Woken(len(log.read_text().splitlines())))
