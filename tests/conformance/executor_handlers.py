"""Handlers for the executors' suite; a module of their own, so that any process finds them."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import HandlerMetadata, HandlerResponse, get_context_buffer, get_registry


@dataclass
class Task:
    """What the suite sends; `path` is a file by which handler and test meet."""

    number: int = 0
    path: str = ""


@dataclass
class Result:
    number: int
    words: list[str] = field(default_factory=list)


@dataclass
class Opaque:
    """A payload whose value no codec takes."""

    value: Any


@dataclass
class Unpicklable:
    """A payload that pickle can't take, there or back."""

    number: int

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("somebody pickles a payload")


def echo(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def double(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    await asyncio.sleep(0)
    return HandlerResponse.respond(Result(payload.number * 2))


def double_plainly(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Result(payload.number * 2))


def every_form(payload: Task, metadata: HandlerMetadata) -> list[HandlerResponse]:
    return [
        HandlerResponse(Task(1), to="other"),
        HandlerResponse.respond(Result(2)),
        HandlerResponse.scatter([Task(3), Task(4)], to="many"),
    ]


def nothing(payload: Task, metadata: HandlerMetadata) -> None:
    return None


def describe(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    words = [
        metadata.thread_id,
        metadata.from_id,
        str(metadata.own_name),
        str(metadata.is_self_call),
        metadata.usage_instructions,
    ]
    return HandlerResponse.respond(Result(metadata.attempt, words))


def read_thread(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    slots = get_context_buffer().get_thread(metadata.thread_id)
    chain = get_registry().lookup(metadata.thread_id)
    words = [str(chain), *(f"{slot.from_id}:{slot.payload.number}" for slot in slots)]
    return HandlerResponse.respond(Result(len(slots), words))


def fail(payload: Task, metadata: HandlerMetadata) -> None:
    raise LookupError(f"no {payload.number} here")


def leave(payload: Task, metadata: HandlerMetadata) -> None:
    raise SystemExit(3)


class StopAll(BaseException):
    """No `Exception`, like what some libraries cancel with."""


async def stop_all(payload: Task, metadata: HandlerMetadata) -> None:
    raise StopAll("everything")


def close_generator(payload: Task, metadata: HandlerMetadata) -> None:
    raise GeneratorExit


def interrupt(payload: Task, metadata: HandlerMetadata) -> None:
    raise KeyboardInterrupt


async def leave_from_beside(payload: Task, metadata: HandlerMetadata) -> None:
    """Await a task that leaves."""

    async def leave_soon() -> None:
        raise SystemExit(4)

    await asyncio.create_task(leave_soon())


async def cancel_itself(payload: Task, metadata: HandlerMetadata) -> None:
    raise asyncio.CancelledError


async def cancel_own_task(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    """And answer as if nothing had been."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return HandlerResponse.respond(Result(payload.number))


def time_out_by_itself(payload: Task, metadata: HandlerMetadata) -> None:
    raise TimeoutError("the far end is slow")


def miss_a_file(payload: Task, metadata: HandlerMetadata) -> None:
    """Its name is no UTF-8, and so it stands in the error."""
    raise LookupError("no file " + os.fsdecode(b"caf\xe9"))


def come_back_twice(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    """Fork, and return from both processes."""
    copy = os.fork()
    if copy:
        os.waitpid(copy, 0)
    return HandlerResponse.respond(Result(payload.number, [str(os.getpid()), str(copy)]))


def return_rubbish(payload: Task, metadata: HandlerMetadata) -> Any:
    return 42


def return_mixed_rubbish(payload: Task, metadata: HandlerMetadata) -> Any:
    return [HandlerResponse.respond(Result(1)), "and this"]


def return_to_two(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse(Task(), to=["one", "other"])  # type: ignore[arg-type]


def return_to_half_a_character(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse(Task(), to="\ud800")


class Name(str):
    """As numpy has one."""

    __slots__ = ()


def return_to_name(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse(Task(1), to=Name("other"))


def return_opaque(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Opaque(object()))


async def wait_for_file(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    """Announce itself in `<path>.<number>`, then wait until `path` exists."""
    Path(f"{payload.path}.{payload.number}").write_text(str(os.getpid()))
    while not Path(payload.path).exists():
        await asyncio.sleep(0.01)
    return HandlerResponse.respond(Result(payload.number))


def block_for_file(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    """As `wait_for_file`, but without ever yielding."""
    Path(f"{payload.path}.{payload.number}").write_text(str(os.getpid()))
    while not Path(payload.path).exists():
        time.sleep(0.01)
    return HandlerResponse.respond(Result(payload.number))


def kill_own_process(payload: Task, metadata: HandlerMetadata) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tell_pid(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Result(os.getpid()))


def meet_trouble(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    """Number 1 kills its process; one with a path waits until that exists."""
    if payload.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if payload.path:
        return block_for_file(payload, metadata)
    return HandlerResponse.respond(Result(payload.number))


def swallow_everything(payload: Task, metadata: HandlerMetadata) -> None:
    """Go on whatever is raised."""
    while True:
        with contextlib.suppress(Exception):
            time.sleep(60)


async def tell_loop(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Result(os.getpid(), [str(id(asyncio.get_running_loop()))]))


_ballast: list[bytearray] = []


def grow(payload: Task, metadata: HandlerMetadata) -> HandlerResponse:
    """Keep so many MiB from now on."""
    _ballast.append(bytearray(b"x" * (payload.number * 1024**2)))
    return HandlerResponse.respond(Result(os.getpid()))
