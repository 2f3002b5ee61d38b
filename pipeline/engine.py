"""What a running pump is made of: put together when it starts, taken apart when it stops."""

import asyncio
import importlib
from typing import Self

from backends import create_backend
from backends.codec import Codec
from backends.errors import CodecError
from backends.memory_mailbox import MemoryMailbox
from backends.protocol import Backend
from pipeline.context_buffer import ContextBuffer, use_context_buffer
from pipeline.errors import ConfigError
from pipeline.executors import Executor
from pipeline.executors.registry import ExecutorSetup, create_executor, modules_of
from pipeline.hops import HopObserver, HopRunner, Station, Turn
from pipeline.instructions import usage_instructions
from pipeline.organism import Listener, Organism
from pipeline.roster import Roster
from pipeline.routing import Router
from pipeline.scheduling import Gate, Lane
from pipeline.thread_registry import ThreadRegistry, use_registry


class Engine:
    """The parts of one running pump; make it with `start`."""

    def __init__(self, organism: Organism, backend: Backend, observer: HopObserver) -> None:
        self._organism = organism
        self._backend = backend
        self.codec = Codec(
            keys=organism.serialization.signing_key,
            realm=organism.backend.redis_prefix,
            format=organism.serialization.format,
        )
        self.buffer = ContextBuffer(backend, self.codec)
        self.registry = ThreadRegistry(backend)
        self.roster = Roster()
        self.router = Router(self.roster, self.codec, organism.limits)
        self.mailbox = MemoryMailbox(
            backend,
            ttl_s=organism.backend.redis_ttl,
            keep_closed=organism.backend.keep_closed,
            offload=organism.backend.backend_type != "memory",
        )
        self._stations: dict[str, Station] = {}
        self._hops = HopRunner(
            self.mailbox,
            self.router,
            observer,
            order=organism.thread_scheduling,
            station_of=self._stations.get,
        )
        self._executors: dict[str, Executor] = {}
        self._handlers_gate = Gate(organism.limits.max_concurrent_handlers)
        self._gates: dict[str, Gate] = {}
        self._lanes: dict[tuple[Gate, ...], Lane[Turn]] = {}

    @classmethod
    async def start(cls, organism: Organism, observer: HopObserver) -> Self:
        """Open the backend, start the executors, begin to take messages.

        Raises:
            ConfigError: a payload class can't travel, or an executor is not installed.
            BackendUnavailableError: the backend does not answer.
            PipelineError: an executor can't start.
        """
        if organism.backend.backend_type == "redis":
            raise ConfigError("backend.type: this release runs pumps over memory and manager only")
        backend = await asyncio.to_thread(create_backend, organism.backend)
        engine = cls(organism, backend, observer)
        try:
            engine._declare_modules()
            for listener in organism.listeners:
                engine._place(listener)
            engine._instruct()
            engine.registry.initialize_root(organism.name)
            for executor in engine._executors.values():
                await executor.start()
            use_context_buffer(engine.buffer)
            use_registry(engine.registry)
            await engine.mailbox.start()
            engine._hops.start()
        except BaseException:
            await engine.stop(drain=False, timeout_s=None)
            raise
        return engine

    @property
    def waiting(self) -> int:
        """Messages whose handler has not started."""
        return self.mailbox.waiting + self._hops.waiting

    def add(self, listener: Listener) -> None:
        """Let one more listener take part.

        Raises:
            ConfigError: its payload class can't travel, or its executor is not installed.
        """
        self._place(listener)
        self._instruct()

    def _declare_modules(self) -> None:
        for name in self._organism.serialization.modules:
            try:
                module = importlib.import_module(name)
            except ImportError as exc:
                raise ConfigError(f"serialization.modules: {exc}") from exc
            self.codec.types.declare_module(module)

    def _place(self, listener: Listener) -> None:
        try:
            self.codec.types.declare(listener.payload_class)
        except CodecError as exc:
            raise ConfigError(f"listener {listener.name!r}: payload_class: {exc}") from exc
        for module in modules_of(listener):
            self.codec.types.declare_module(importlib.import_module(module))
        name = self._organism.executor_of(listener)
        executor = self._executor(name)
        gates = self._gates_of(listener, name, executor)
        # Those behind the same gates wait in one lane.
        lane = self._lanes.setdefault(gates, Lane(gates))
        self._stations[self.roster.add(listener)] = Station(listener, executor, lane)

    def _instruct(self) -> None:
        """Tell every agent what its peers take."""
        for station in self._stations.values():
            if station.listener.agent:
                station.usage_instructions = usage_instructions(station.listener, self.roster)

    def _executor(self, name: str) -> Executor:
        if name not in self._executors:
            setup = ExecutorSetup(self._organism, self.codec, self._backend.lend)
            self._executors[name] = create_executor(name, setup)
        return self._executors[name]

    def _gates_of(
        self, listener: Listener, executor_name: str, executor: Executor
    ) -> tuple[Gate, ...]:
        shared = self._handlers_gate
        if executor.places is not None:
            shared = self._gates.setdefault(f"executor {executor_name}", Gate(executor.places))
        if not listener.agent:
            return (shared,)
        limit = self._organism.limits.max_concurrent_per_agent
        return shared, self._gates.setdefault(f"agent {listener.name}", Gate(limit))

    async def stop(self, *, drain: bool, timeout_s: float | None) -> int:
        """Take everything apart; how many messages were waiting and are lost."""
        try:
            dropped = await self._hops.stop(drain=drain, timeout_s=timeout_s)
            dropped += await self.mailbox.stop()
        finally:
            for executor in self._executors.values():
                await executor.stop()
            use_context_buffer(None)
            use_registry(None)
            await asyncio.to_thread(self._backend.close)
        return dropped
