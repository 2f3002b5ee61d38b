"""Handlers whose conversations are traced; a module of their own, so that any process finds it."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import trace

from pipeline import Gathered, HandlerMetadata, HandlerResponse

tracer = trace.get_tracer(__name__)


@dataclass
class Number:
    n: int
    #: A folder by which handler and test meet.
    path: str = ""
    secret: str = ""


def front(payload: Number, metadata: HandlerMetadata) -> HandlerResponse:
    if metadata.from_id == "sums":
        return HandlerResponse.respond(payload)
    return HandlerResponse(payload, to="sums")


async def sums(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    if isinstance(payload, Gathered):
        return HandlerResponse.respond(Number(sum(each.n for each in payload.results)))
    return HandlerResponse.scatter([Number(n) for n in range(payload.n)], to="square")


async def square(payload: Number, metadata: HandlerMetadata) -> HandlerResponse:
    with tracer.start_as_current_span("compute"):
        await asyncio.sleep(0)
        return HandlerResponse.respond(Number(payload.n**2))


def plainly(payload: Number, metadata: HandlerMetadata) -> HandlerResponse:
    with tracer.start_as_current_span("compute"):
        return HandlerResponse.respond(payload)


def deadly(payload: Number, metadata: HandlerMetadata) -> HandlerResponse:
    """Kill this process, *n* times in all."""
    for death in range(payload.n):
        marker = Path(payload.path, f"died.{death}")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return HandlerResponse.respond(payload)


def fails(payload: Number, metadata: HandlerMetadata) -> None:
    raise LookupError(payload.secret)


def stubborn(payload: Number, metadata: HandlerMetadata) -> None:
    """Ignore that time is up: its process has to end."""
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.01)


async def gate(payload: Number, metadata: HandlerMetadata) -> HandlerResponse:
    Path(payload.path, f"begun.{os.getpid()}").touch()
    while not Path(payload.path, "open").exists():
        await asyncio.sleep(0.01)
    return HandlerResponse.respond(payload)
