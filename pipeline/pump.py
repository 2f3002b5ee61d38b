"""The pump: an organism at work."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backends.errors import BackendClosedError
from backends.mailbox import Answer, Opened, Opening
from pipeline.context_buffer import ContextBuffer
from pipeline.door import Door
from pipeline.engine import Engine, Vitals
from pipeline.errors import (
    ConfigError,
    PipelineError,
    PumpFullError,
    PumpStoppedError,
)
from pipeline.events import Subscriber, Subscribers
from pipeline.expectations import Expectations
from pipeline.hops import inside_handler
from pipeline.organism import Listener, Organism, listener_problems
from pipeline.organism_file import load_organism
from pipeline.routing import EXTERNAL
from pipeline.thread_registry import ThreadRegistry

log = logging.getLogger(__name__)


class StreamPump:
    """Runs one organism: takes messages in, runs their handlers, gives answers out.

    Use it as `async with StreamPump(...) as pump:`, or call `start` and `shutdown`.
    Everything but `register` and `subscribe` belongs to one event loop.

    Args:
        organism: listeners and settings; without it an empty one.
        name: what the empty one is called.
        is_client: only sends and awaits: other pumps run the handlers. Needs Redis.
        tracer_provider: OpenTelemetry's, to trace to; the global one, if a real one is set
            when the pump starts, without it.

    Raises:
        ConfigError: a listener is wrong.
    """

    def __init__(
        self,
        organism: Organism | None = None,
        *,
        name: str = "organism",
        is_client: bool = False,
        tracer_provider: Any = None,
    ) -> None:
        self.organism = organism if organism is not None else Organism(name)
        self._is_client = is_client
        self._tracer_provider = tracer_provider
        self._engine: Engine | None = None
        self._added: list[Listener] = []
        #: Whom `subscribe` added.
        self.subscribers = Subscribers()
        self._door = Door(self._has_room)
        self._expectations = Expectations()
        #: Held while it starts, and while it stops.
        self._changing = asyncio.Lock()

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """A pump for an `organism.yaml`.

        Raises:
            ConfigError: with every mistake in the file.
        """
        return cls(load_organism(path))

    @property
    def name(self) -> str:
        """The organism's name."""
        return self.organism.name

    @property
    def is_running(self) -> bool:
        """True between `start` and `shutdown`."""
        return self._engine is not None

    @property
    def vitals(self) -> Vitals | None:
        """What there is to tell of it; None while it is not running. Safe from any thread."""
        engine = self._engine
        return None if engine is None else engine.vitals()

    @property
    def buffer(self) -> ContextBuffer:
        """What every thread remembers.

        Raises:
            PumpStoppedError: the pump is not running.
        """
        return self._running().buffer

    @property
    def registry(self) -> ThreadRegistry:
        """Which call chain each thread stands for.

        Raises:
            PumpStoppedError: the pump is not running.
        """
        return self._running().registry

    def register(  # noqa: PLR0913 - one argument a setting
        self,
        name: str,
        handler: Callable[..., Any],
        payload_class: type,
        *,
        description: str = "",
        agent: bool = False,
        peers: Sequence[str] = (),
        cpu_bound: bool = False,
        broadcast: bool = False,
        timeout_s: float | None = None,
        retries: int = 0,
        backoff_s: float = 0.5,
        executor: str | None = None,
        accepts_errors: bool | None = None,
    ) -> Listener:
        """Add a listener; an agent's peers may follow until the pump starts.

        Raises:
            ConfigError: something about it is wrong; it was not added.
        """
        listener = Listener(
            name,
            handler,
            payload_class,
            description,
            agent,
            tuple(peers),
            cpu_bound,
            broadcast,
            timeout_s,
            retries,
            backoff_s,
            executor,
            accepts_errors,
        )
        listeners = [*self.organism.listeners, *self._added, listener]
        problems = [
            problem.text
            for problem in listener_problems(listeners)
            if self.is_running or problem.fields != ("peers",)
        ]
        if problems:
            raise ConfigError(*(f"listener {name!r}: {text}" for text in problems))
        if self._engine is not None:
            self._engine.add(listener)
        self._added.append(listener)
        return listener

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call *callback* with every event, on the event loop; returns how to end that.

        What it raises is logged and harms nobody.
        """
        return self.subscribers.add(callback)

    async def start(self) -> None:
        """Begin to take messages, once an earlier run has ended; does nothing while running.

        Raises:
            ConfigError: listeners don't fit together, or an executor is not installed.
            BackendUnavailableError: the backend does not answer.
            PipelineError: a pool process can't import the organism.
        """
        async with self._changing:
            if self._engine is not None:
                return
            listeners = (*self.organism.listeners, *self._added)
            self.organism = replace(self.organism, listeners=listeners)
            self._added.clear()
            self._engine = await Engine.start(
                self.organism,
                self,
                is_client=self._is_client,
                tracer_provider=self._tracer_provider,
            )

    async def shutdown(self, drain: bool = True, timeout_s: float | None = None) -> None:  # noqa: FBT001, FBT002 - reads well by position
        """Take no more, let running handlers finish, release everything.

        What still waits is dropped and its number logged: in this mode messages live
        in this process. Does nothing when not running.

        Args:
            drain: false cancels running handlers.
            timeout_s: seconds to wait for them before cancelling; None is without limit.

        Raises:
            PipelineError: a handler awaits it.
        """
        engine = self._engine
        if engine is None:
            return
        if engine.runs_in(asyncio.current_task()):
            raise PipelineError(
                "a handler can't wait for its pump to stop, which waits for the handler:"
                " call shutdown in a task of its own"
            )
        self._engine = None
        reason = self._was_shut_down()
        self._door.close(reason)
        async with self._changing:
            try:
                dropped = await engine.stop(drain=drain, timeout_s=timeout_s)
            finally:
                self._expectations.abandon(reason)
        if dropped:
            log.warning("messages dropped", extra={"action": "shutdown", "count": dropped})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown(drain=exc_type is None)

    async def inject(
        self,
        to: str,
        payload: Any,
        *,
        thread_id: str | None = None,
        from_id: str = EXTERNAL,
        message_id: str | None = None,
    ) -> str:
        """Send a message from outside; the id of its conversation's thread.

        Waits while the pump is full: `backend.max_threads` conversations open, or
        `limits.max_waiting` messages waiting.

        Args:
            thread_id: goes on with this conversation, or names a new one.
            from_id: who asks, as handlers and slots will name them.
            message_id: deduplicates; the second message with one id is not sent.

        Raises:
            UnknownListenerError: nobody is called *to*.
            PayloadTypeError: *payload* is not what the listener takes, or can't be encoded.
            PayloadTooLargeError: it is over `limits.max_payload_bytes`.
            BufferFullError: the conversation's thread is full.
            PumpFullError: inside a handler, where waiting could be for ever.
            PumpStoppedError: the pump is not running, or was shut down before it could say
                whether it is sent.
        """
        engine = self._running()
        chain = None if thread_id is None else await self._known_chain(engine, thread_id, to)
        opening = engine.entrance.opening(
            to, payload, from_id, thread_id=thread_id, chain=chain, message_id=message_id
        )
        return (await self._open(opening)).conversation

    async def request(
        self,
        to: str,
        payload: Any,
        *,
        timeout_s: float | None = None,
        thread_id: str | None = None,
        message_id: str | None = None,
    ) -> Any:
        """Send a message from outside and wait for the answer's payload.

        What `inject` raises, it raises too.

        Args:
            timeout_s: seconds to wait; the conversation goes on all the same.
            thread_id: as for `inject`.
            message_id: as for `inject`; a duplicate gets the first one's answer.

        Raises:
            HandlerError: the answer is an error.
            NoAnswerError: the conversation ended and nobody answered.
            TimeoutError: *timeout_s* passed.
            PumpStoppedError: the pump was shut down meanwhile.
        """
        if timeout_s is None:
            return await self._ask(to, payload, thread_id, message_id)
        async with asyncio.timeout(timeout_s):
            return await self._ask(to, payload, thread_id, message_id)

    async def _ask(
        self, to: str, payload: Any, thread_id: str | None, message_id: str | None
    ) -> Any:
        engine = self._running()
        chain = None if thread_id is None else await self._known_chain(engine, thread_id, to)
        opening = engine.entrance.opening(
            to, payload, EXTERNAL, thread_id=thread_id, chain=chain, message_id=message_id
        )
        scope = opening.envelopes[0].scope
        waiter = self._expectations.expect(scope)
        try:
            opened = await self._open(opening)
            if opened.is_duplicate:
                self._expectations.recall(opened)
            answer = await waiter
        finally:
            self._expectations.give_up(scope, waiter)
        answered = engine.codec.decode(answer.payload)
        if answer.is_error:
            raise answered.to_exception()
        return answered

    async def join(self) -> None:
        """Wait until nothing that this pump injected is in flight."""
        await self._expectations.join()

    def _running(self) -> Engine:
        if self._engine is None:
            raise PumpStoppedError(f"pump {self.name!r} is not running; start it first")
        return self._engine

    def _was_shut_down(self) -> PumpStoppedError:
        return PumpStoppedError(f"pump {self.name!r} was shut down")

    async def _known_chain(self, engine: Engine, thread_id: str, to: str) -> str | None:
        try:
            return await engine.entrance.known_chain(thread_id, to)
        except BackendClosedError as exc:
            raise self._was_shut_down() from exc

    async def _open(self, opening: Opening) -> Opened:
        engine = self._running()
        if engine.spans is not None and opening.envelopes[0].trace is None:
            with engine.spans.sending(opening) as traced:
                return await self._open(traced)
        if not self._door.try_enter():
            if inside_handler.get():
                raise PumpFullError(
                    "the pump is full, and a handler must not wait for room: return a"
                    " HandlerResponse, or raise backend.max_threads and limits.max_waiting"
                )
            await self._door.enter()
        scope = opening.envelopes[0].scope
        self._expectations.begin(scope)
        is_ours = False
        try:
            opened = await engine.mailbox.open(opening)
            is_ours = not opened.is_duplicate
        except BackendClosedError as exc:
            raise self._was_shut_down() from exc
        finally:
            self._door.entered()
            if not is_ours:
                self._expectations.turn_back(scope)
        if is_ours:
            engine.announcer.opened(opening, opened)
        return opened

    def _has_room(self, entering: int) -> bool:
        return self._engine is not None and self._engine.has_room(entering)

    def on_answer(self, scope: str, answer: Answer) -> None:
        """A message from outside was answered."""
        self._expectations.answer(scope, answer)

    def on_scope_closed(self, scope: str, *, is_known: bool = True) -> None:
        """Everything a message from outside set off has ended; or the store has lost it."""
        self._expectations.close(scope, is_known=is_known)

    def on_room(self) -> None:
        """There may be room for more."""
        self._door.wake()
