"""What a running pump is made of: put together when it starts, taken apart when it stops."""

import asyncio
from collections.abc import Container
from functools import partial
from typing import Any, NamedTuple, Self

from backends import create_backend
from backends.codec import Codec
from backends.mailbox import Carrier, Effects, Ledger
from backends.memory_mailbox import MemoryMailbox
from backends.protocol import Backend, BackendConfig
from backends.redis.agreement import agree_on_keys
from backends.redis.mailbox import RedisMailbox
from pipeline.announcer import Announcer, HopObserver
from pipeline.context_buffer import ContextBuffer, leave_context_buffer, use_context_buffer
from pipeline.entrance import Entrance
from pipeline.errors import ConfigError
from pipeline.executors import Dispatcher, Executor
from pipeline.executors.registry import ExecutorSetup, create_executor
from pipeline.hops import HopRunner, Place, Turn
from pipeline.organism import Listener, Organism
from pipeline.roster import Roster
from pipeline.routing import Router
from pipeline.scheduling import Gate, Lane
from pipeline.settling import Settler
from pipeline.station import Station
from pipeline.stations import codec_of, declare_types, instruct
from pipeline.thread_registry import ThreadRegistry, leave_registry, use_registry
from pipeline.tracing import spans_of_process

#: How gates of executors are called; the others are agents'.
_OF_EXECUTOR = "executor "


class Vitals(NamedTuple):
    """What one pump is at, right now."""

    #: Handlers that run here.
    running: int
    #: Messages taken whose handler has not started here.
    held: int
    #: Conversations this pump began that have not ended.
    conversations: int
    #: Seconds since it renewed its lease; None where it needs none.
    lease_age_s: float | None
    #: Messages sent to workers, by how many dispatches each carried.
    batch_sizes: dict[int, int]


class Engine:
    """The parts of one running pump; make it with `start`."""

    def __init__(  # noqa: PLR0913 - one argument a part
        self,
        organism: Organism,
        codec: Codec,
        backend: Backend,
        observer: HopObserver,
        *,
        is_client: bool,
        tracer_provider: Any,
    ) -> None:
        self._organism = organism
        self._is_client = is_client
        self._backend = backend
        self.codec = codec
        #: What makes spans; None where tracing is off.
        self.spans = spans_of_process(tracer_provider)
        self.buffer = ContextBuffer(backend, self.codec)
        self.registry = ThreadRegistry(backend)
        self.roster = Roster()
        self.router = Router(self.roster, self.codec, organism.limits)
        self.entrance = Entrance(
            self.router,
            self.codec,
            self.registry,
            max_payload_bytes=organism.limits.max_payload_bytes,
            is_patient=organism.backend.backend_type == "redis",
        )
        self.mailbox = _mailbox(organism, backend, self.codec)
        handed_over: Container[str] = ()
        if isinstance(self.mailbox, RedisMailbox):
            handed_over = self.mailbox.fingerprints
        self.announcer = Announcer(observer, handed_over)
        if isinstance(self.mailbox, RedisMailbox):
            self.mailbox.on_news = partial(_on_news, self.announcer)
        self._max_open = organism.backend.max_threads
        self._max_waiting = organism.limits.max_waiting
        self._places: dict[str, Place] = {}
        self._hops = HopRunner(
            self.mailbox,
            Settler(self.mailbox, self.router, self.announcer, self.codec, spans=self.spans),
            self.announcer,
            order=organism.thread_scheduling,
            place_of=self._places.get,
            spans=self.spans,
        )
        self._executors: dict[str, Executor] = {}
        self._handlers_gate = Gate(organism.limits.max_concurrent_handlers)
        self._gates: dict[str, Gate] = {}
        self._lanes: dict[tuple[Gate, ...], Lane[Turn]] = {}
        self._closing: asyncio.Task[int] | None = None

    @classmethod
    async def start(
        cls,
        organism: Organism,
        observer: HopObserver,
        *,
        is_client: bool = False,
        tracer_provider: Any = None,
    ) -> Self:
        """Open the backend, start the executors, begin to take messages.

        Args:
            is_client: start no executor, and take nothing.
            tracer_provider: as `StreamPump`'s.

        Raises:
            ConfigError: a payload class can't travel, or an executor is not installed.
            BackendUnavailableError: the backend does not answer.
            SignatureError: others are at work whose records could not be read here.
            PipelineError: an executor can't start.
        """
        if is_client and organism.backend.backend_type != "redis":
            raise ConfigError("a pump that is a client needs backend.type: redis")
        codec = codec_of(organism)
        backend = await _opened(organism.backend)
        engine = cls(
            organism,
            codec,
            backend,
            observer,
            is_client=is_client,
            tracer_provider=tracer_provider,
        )
        try:
            for listener in organism.listeners:
                engine._place(listener)
            engine._instruct()
            await asyncio.to_thread(engine.registry.initialize_root, organism.name)
            if isinstance(engine.mailbox, RedisMailbox):
                where, terms = organism.backend, organism.celery.terms
                agree = partial(agree_on_keys, where, codec, terms, is_told=not is_client)
                await asyncio.to_thread(agree)
            for executor in engine._executors.values() if not is_client else ():
                await executor.start()
            use_context_buffer(engine.buffer)
            use_registry(engine.registry)
            await engine.mailbox.start()
            if not is_client:
                engine._hops.start()
        except BaseException:
            await engine.stop(drain=False, timeout_s=None)
            raise
        return engine

    def has_room(self, entering: int) -> bool:
        """Whether one more message from outside fits besides those already *entering*."""
        mailbox = self.mailbox
        return (
            mailbox.open_conversations + entering < self._max_open
            and mailbox.waiting + self._hops.waiting + entering < self._max_waiting
        )

    def vitals(self) -> Vitals:
        """What there is to tell of this pump. Safe from any thread."""
        mailbox = self.mailbox
        executors = tuple(self._executors.values())
        places = [
            gate for name, gate in self._gates.copy().items() if name.startswith(_OF_EXECUTOR)
        ]
        return Vitals(
            running=sum(gate.used for gate in (self._handlers_gate, *places)),
            held=self._hops.waiting,
            conversations=mailbox.open_conversations,
            lease_age_s=mailbox.lease_age_s if isinstance(mailbox, RedisMailbox) else None,
            batch_sizes={
                size: count
                for each in executors
                if isinstance(each, Dispatcher)
                for size, count in dict(each.batch_sizes).items()
            },
        )

    def add(self, listener: Listener) -> None:
        """Let one more listener take part.

        Raises:
            ConfigError: its payload class can't travel, or its executor is not installed.
        """
        self._place(listener)
        self._instruct()

    def _place(self, listener: Listener) -> None:
        declare_types(listener, self.codec)
        name = self._organism.executor_of(listener)
        executor = self._executor(name)
        gates = self._gates_of(listener, name, executor)
        # Those behind the same gates wait in one lane.
        lane = self._lanes.setdefault(gates, Lane(gates))
        ledger = self._ledger_for(name, executor)
        dispatcher = executor if isinstance(executor, Dispatcher) else None
        listener_id = self.roster.add(listener)
        station = Station(listener)
        self._places[listener_id] = Place(station, executor, lane, ledger, dispatcher)
        if ledger is not None and not self._is_client:
            # What a client sends waits for a pump that can publish it.
            ledger.fingerprints[listener_id] = station.fingerprint

    def _instruct(self) -> None:
        instruct({key: place.station for key, place in self._places.items()}, self.roster)

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            setup = ExecutorSetup(self._organism, self.codec, self._backend.lend, self.spans)
            self._executors[name] = create_executor(name, setup)
        return self._executors[name]

    def _ledger_for(self, name: str, executor: Executor) -> Ledger | None:
        if not isinstance(executor, Dispatcher):
            return None
        if not isinstance(self.mailbox, RedisMailbox):
            raise ConfigError(f"executor {name!r} needs backend.type: redis")
        self.mailbox.on_publishable = executor.wake
        if isinstance(executor, Carrier):
            self.mailbox.lone_publisher.carrier = executor
        return self.mailbox

    def _gates_of(
        self, listener: Listener, executor_name: str, executor: Executor
    ) -> tuple[Gate, ...]:
        shared = self._handlers_gate
        if executor.places is not None:
            shared = self._gates.setdefault(f"{_OF_EXECUTOR}{executor_name}", Gate(executor.places))
        if not listener.agent:
            return (shared,)
        limit = self._organism.limits.max_concurrent_per_agent
        return shared, self._gates.setdefault(f"agent {listener.name}", Gate(limit))

    def runs_in(self, task: "asyncio.Task[Any] | None") -> bool:
        """Whether *task* is one of those that run handlers here."""
        return self._hops.runs_in(task)

    async def stop(self, *, drain: bool, timeout_s: float | None) -> int:
        """Take everything apart; how many messages were waiting and are lost.

        Cancelled, it waits for no handler any more; the rest is done all the same.
        """
        dropped = 0
        try:
            dropped = await self._hops.stop(drain=drain, timeout_s=timeout_s)
        finally:
            leave_context_buffer(self.buffer)
            leave_registry(self.registry)
            # Cancelled again and again, as in a scope of anyio's, it still goes to its end.
            self._closing = asyncio.create_task(self._close(), name="close")
            dropped += await asyncio.shield(self._closing)
        return dropped

    async def _close(self) -> int:
        try:
            await self._hops.close()
            return await self.mailbox.stop()
        finally:
            for executor in self._executors.values():
                await executor.stop()
            await asyncio.to_thread(self._backend.close)


async def _opened(config: BackendConfig) -> Backend:
    opening = asyncio.get_running_loop().run_in_executor(None, create_backend, config)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        # A thread can't be cancelled: what it makes has no owner any more.
        opening.add_done_callback(_close_unowned)
        raise


def _close_unowned(opening: asyncio.Future[Backend]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _mailbox(organism: Organism, backend: Backend, codec: Codec) -> MemoryMailbox | RedisMailbox:
    config = organism.backend
    if config.backend_type == "redis":
        return RedisMailbox(config, codec, organism.celery.terms)
    return MemoryMailbox(
        backend,
        ttl_s=config.redis_ttl,
        keep_closed=config.keep_closed,
        offload=config.backend_type != "memory",
    )


def _on_news(announcer: Announcer, effects: Effects) -> None:
    announcer.news(effects)
    announcer.room()
