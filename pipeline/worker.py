"""Runs one handler and puts what came of it into plain data; knows no executor.

The same code runs on the event loop, in a pool process and on a fleet's worker, so a
handler behaves alike wherever it runs.
"""

import asyncio
import contextvars
import inspect
import os
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor as ThreadPool
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec

from backends.codec import Codec
from backends.errors import CodecError
from pipeline.errors import PipelineError
from pipeline.messages import ErrorCode, ErrorMessage, HandlerMetadata, HandlerResponse

Handler = Callable[[Any, HandlerMetadata], Any]

#: Characters of a traceback that travel; the end of it tells most.
_MAX_TRACEBACK = 16_384


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One `HandlerResponse`, its payloads encoded."""

    #: None answers the caller.
    to: str | None
    payloads: list[bytes]
    is_scatter: bool = False


class Completed(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A handler returned."""

    replies: list[Reply]
    duration_s: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A handler did not return, or returned what can't be sent."""

    error: ErrorMessage
    duration_s: float
    #: False where running it again would fail the same way.
    is_retryable: bool = True


Outcome = Completed | Failed


class Call(msgspec.Struct, frozen=True):
    """A handler to run: which, on what, and what it is told."""

    listener: str
    handler: Handler
    #: A typed payload.
    payload: bytes
    metadata: HandlerMetadata
    timeout_s: float | None = None

    def failed(
        self,
        code: ErrorCode,
        message: str,
        *,
        duration_s: float = 0.0,
        frames: str = "",
        is_retryable: bool = True,
    ) -> Failed:
        """This call's failure, as an outcome."""
        texts = _sendable(message), _sendable(frames)
        error = ErrorMessage(code, texts[0], self.listener, self.metadata.attempt, texts[1])
        return Failed(error, duration_s, is_retryable)

    def overran(self, duration_s: float) -> Failed:
        """The outcome of a call that ran for longer than its `timeout_s`."""
        message = f"{self.listener} did not finish within timeout_s ({self.timeout_s:g} s)"
        return self.failed(ErrorCode.TIMEOUT, message, duration_s=duration_s)


def _sendable(text: str) -> str:
    """*text* as UTF-8 can carry it: a file's name in an exception may hold half a character."""
    return text.encode(errors="backslashreplace").decode()


class BadReturnError(PipelineError):
    """A handler returned something that is no `HandlerResponse`, or can't be encoded."""


async def run_handler(call: Call, codec: Codec, *, threads: ThreadPool | None = None) -> Outcome:
    """Decode the payload, run the handler within its time limit, encode its replies.

    Whatever the handler does, this returns; only a cancellation from outside is raised.

    Args:
        threads: where a plain `def` runs; on the calling thread without it.
    """
    started = time.monotonic()
    try:
        payload = _payload_of(call, codec)
        if call.timeout_s is not None:
            returned = await _within_limit(call, call.timeout_s, payload, threads)
        elif is_coroutine(call.handler):
            returned = await call.handler(payload, call.metadata)
        else:
            returned = await _invoke(call, payload, threads)
        return Completed(encode_replies(returned, codec), time.monotonic() - started)
    except (KeyboardInterrupt, GeneratorExit):
        # These end whatever runs this, which has to see to the rest.
        raise
    except BaseException as exc:
        # A handler may raise anything at all, and any of it is its caller's to know.
        task = asyncio.current_task()
        if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return failure_of(call, exc, time.monotonic() - started)


def run_call(call: Call, codec: Codec, runner: asyncio.Runner) -> Outcome:
    """As `run_handler`, in a process of its own, where nothing else runs.

    Args:
        runner: for what is awaited; starting it would cost a plain `def` ten times its own time.
    """
    pid = os.getpid()
    try:
        return _run_alone(call, codec, runner)
    finally:
        if os.getpid() != pid:
            # The handler has forked, and its copy came back as well: it must not go on as if
            # it were this process, whose work and whose pipes it has.
            os._exit(0)


def _run_alone(call: Call, codec: Codec, runner: asyncio.Runner) -> Outcome:
    if is_coroutine(call.handler):
        # In the caller's context: what one handler sets there is not the next one's.
        return runner.run(run_handler(call, codec), context=contextvars.copy_context())
    started = time.monotonic()
    try:
        payload = _payload_of(call, codec)
        returned = contextvars.copy_context().run(call.handler, payload, call.metadata)
        if not inspect.isawaitable(returned):
            return Completed(encode_replies(returned, codec), time.monotonic() - started)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exc:  # noqa: BLE001 - as in `run_handler`
        return failure_of(call, exc, time.monotonic() - started)
    # What escapes from the runner itself is its owner's to see to, as above.
    finished = _finished(call, codec, returned, started)
    return runner.run(finished, context=contextvars.copy_context())


async def _finished(call: Call, codec: Codec, returned: Awaitable[Any], started: float) -> Outcome:
    """What comes of a plain `def` that returned something to be awaited."""
    try:
        return Completed(encode_replies(await returned, codec), time.monotonic() - started)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exc:  # noqa: BLE001 - as in `run_handler`
        return failure_of(call, exc, time.monotonic() - started)


def _payload_of(call: Call, codec: Codec) -> Any:
    try:
        return codec.decode(call.payload)
    except CodecError as exc:
        raise _UndeliverableError(str(exc)) from exc


def failure_of(call: Call, exc: BaseException, duration_s: float) -> Failed:
    """What a handler raised, as an outcome."""
    if isinstance(exc, TimeLimitError):
        return call.overran(duration_s)
    if isinstance(exc, _UndeliverableError):
        return call.failed(ErrorCode.UNDELIVERABLE, str(exc), is_retryable=False)
    if isinstance(exc, BadReturnError):
        return call.failed(
            ErrorCode.BAD_RETURN, str(exc), duration_s=duration_s, is_retryable=False
        )
    message = "".join(traceback.format_exception_only(exc)).strip()
    frames = "".join(traceback.format_exception(exc))[-_MAX_TRACEBACK:]
    return call.failed(ErrorCode.RAISED, message, duration_s=duration_s, frames=frames)


class _UndeliverableError(PipelineError):
    """The payload can't be decoded."""


class TimeLimitError(PipelineError):
    """The handler ran for longer than its `timeout_s`."""


async def _within_limit(
    call: Call, timeout_s: float, payload: Any, threads: ThreadPool | None
) -> Any:
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await _invoke(call, payload, threads)
    except TimeoutError as exc:
        if limit.expired():
            raise TimeLimitError from exc
        raise


async def _invoke(call: Call, payload: Any, threads: ThreadPool | None) -> Any:
    if threads is None or is_coroutine(call.handler):
        returned = call.handler(payload, call.metadata)
    else:
        run = partial(contextvars.copy_context().run, _call_in_thread, call, payload)
        returned = await asyncio.get_running_loop().run_in_executor(threads, run)
        if isinstance(returned, _Raised):
            raise returned.exc
    return await returned if inspect.isawaitable(returned) else returned


class _Raised(NamedTuple):
    """What no future can pass on: given the one it is never done, and the other ends its task."""

    exc: StopIteration | GeneratorExit


def _call_in_thread(call: Call, payload: Any) -> Any:
    try:
        return call.handler(payload, call.metadata)
    except (StopIteration, GeneratorExit) as exc:
        return _Raised(exc)


#: Whether calling a handler gives a coroutine.
is_coroutine = lru_cache(maxsize=1024)(inspect.iscoroutinefunction)


def encode_replies(returned: Any, codec: Codec) -> list[Reply]:
    """What a handler returned, as data.

    Raises:
        BadReturnError: it is neither None, a `HandlerResponse` nor a list of them, or a
            payload can't be encoded.
    """
    if returned is None:
        return []
    if isinstance(returned, HandlerResponse):
        return [_encode_reply(returned, codec)]
    responses = returned if isinstance(returned, (list, tuple)) else (returned,)
    return [_encode_reply(response, codec) for response in responses]


def _encode_reply(response: object, codec: Codec) -> Reply:
    if not isinstance(response, HandlerResponse):
        raise BadReturnError(
            f"a handler returned {type(response).__name__}; expected None,"
            " HandlerResponse or a list of HandlerResponse"
        )
    to = _name_in(response.to)
    try:
        if not response.is_scatter:
            return Reply(to, [codec.encode(response.payload)])
        payloads = [codec.encode(payload) for payload in response.payload]
        return Reply(to, payloads, is_scatter=True)
    except CodecError as exc:
        raise BadReturnError(str(exc)) from exc


def _name_in(to: object) -> str | None:
    """Whom a handler sends to, as a plain string that UTF-8 can carry."""
    if to is None:
        return None
    if not isinstance(to, str):
        raise BadReturnError(f"a handler sent to a {type(to).__name__}; expected a listener's name")
    # One of a class of its own, such as numpy's, can't be encoded.
    name = str.__str__(to)
    if _sendable(name) != name:
        raise BadReturnError(f"a handler sent to {name!r}; expected a listener's name")
    return name
