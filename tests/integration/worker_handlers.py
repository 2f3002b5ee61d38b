"""Handlers for tests of whole fleets; a module of their own, so that any process finds them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from celery.concurrency.asynpool import AsynPool

from pipeline import HandlerMetadata, HandlerResponse

#: Set for a worker whose pool looks for processes that ended when it hears of one, and never else.
NO_TICK = "TEST_POOL_WITHOUT_TICK"
if os.environ.get(NO_TICK):
    AsynPool.timers = {}


@dataclass
class Work:
    """`path`: each run adds a line to it, if it is given. `wait_for`: a file to wait for."""

    number: int = 0
    duration_s: float = 0.0
    path: str = ""
    wait_for: str = ""


@dataclass
class Done:
    number: int
    pid: int
    attempt: int


def work(payload: Work, metadata: HandlerMetadata) -> HandlerResponse:
    if payload.path:
        with Path(payload.path).open("a") as runs:
            runs.write(f"{payload.number} {os.getpid()}\n")
    time.sleep(payload.duration_s)
    while payload.wait_for and not Path(payload.wait_for).exists():
        time.sleep(0.01)
    return HandlerResponse.respond(Done(payload.number, os.getpid(), metadata.attempt))


def other_work(payload: Work, metadata: HandlerMetadata) -> HandlerResponse:
    return work(payload, metadata)


def runs_in(path: Path) -> list[tuple[int, int]]:
    """Number and process of each run so far, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(number), int(pid)) for number, pid in map(str.split, lines)]
