"""Handlers for the pump's suite on workers; at module level, so that both sides find them."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import Gathered, HandlerMetadata, HandlerResponse, get_context_buffer, get_registry


@dataclass
class Ask:
    number: int = 0
    path: str = ""


@dataclass
class Reply:
    number: int = 0
    texts: list[str] = field(default_factory=list)


def answer(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """Answer with the same number, and with the process."""
    return HandlerResponse.respond(Reply(payload.number, [str(os.getpid())]))


async def forward(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    """Ask `answer`; pass its answer on, with who gave it."""
    if isinstance(payload, Reply):
        return HandlerResponse.respond(Reply(payload.number + 1, [metadata.from_id]))
    return HandlerResponse(Ask(payload.number + 1), to="answer")


def forward_twice(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    """Ask `forward`; pass its answer on."""
    if isinstance(payload, Reply):
        return HandlerResponse.respond(payload)
    return HandlerResponse(payload, to="forward")


def scatter(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    """Scatter so many; answer with each result's number and each error."""
    if isinstance(payload, Gathered):
        texts = [str(each.number) if each else "-" for each in payload.results]
        texts += [f"{index}={error}" for index, error in sorted(payload.errors.items())]
        return HandlerResponse.respond(Reply(len(payload.results), texts))
    return HandlerResponse.scatter([Ask(n) for n in range(payload.number)], to="member")


def member(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse | None:
    """Number 1 fails, number 2 says nothing."""
    if payload.number == 1:
        raise LookupError("no 1 here")
    time.sleep(0.01 * (5 - payload.number % 5))
    return HandlerResponse.respond(Reply(payload.number)) if payload.number != 2 else None


def third_time_lucky(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    if metadata.attempt < 3:
        raise ConnectionError("not yet")
    return HandlerResponse.respond(Reply(metadata.attempt))


def fail(payload: Ask, metadata: HandlerMetadata) -> None:
    raise LookupError(f"no {payload.number} here")


def ask_one_that_fails(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse(payload, to="fail")


def ask_nobody(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse(payload, to="nobody")


def never_end(payload: Ask, metadata: HandlerMetadata) -> None:
    while True:
        time.sleep(0.05)


def say_nothing(payload: Ask, metadata: HandlerMetadata) -> None:
    return None


def remember(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    """Tell all of the thread so far."""
    slots = get_context_buffer().get_thread(metadata.thread_id)
    texts = [str(get_registry().lookup(metadata.thread_id))]
    texts += [f"{slot.from_id}:{slot.payload.number}" for slot in slots]
    return HandlerResponse.respond(Reply(len(slots), texts))


def leave_a_line(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    with Path(payload.path).open("a") as lines:
        lines.write(f"{payload.number}\n")
    return HandlerResponse.respond(Reply(payload.number))
