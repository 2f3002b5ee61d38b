"""What the parts of the pump's suite share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from backends import BackendConfig
from pipeline import HandlerMetadata, HandlerResponse, Organism, StreamPump
from pipeline.organism import Limits, ThreadScheduling


@dataclass
class Ping:
    number: int = 0
    text: str = ""


@dataclass
class Pong:
    number: int = 0
    texts: list[str] = field(default_factory=list)


@dataclass
class Other:
    text: str = ""


Handler = Callable[[Any, HandlerMetadata], Any]
OpenPump = Callable[..., Awaitable[StreamPump]]


async def answer(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
    """Answer with the same number."""
    return HandlerResponse.respond(Pong(payload.number))


async def forward(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    """Ask `callee`; pass its answer on."""
    if isinstance(payload, Pong):
        return HandlerResponse.respond(Pong(payload.number + 1, [metadata.from_id]))
    return HandlerResponse(Ping(payload.number + 1), to="callee")


async def silent(payload: Ping, metadata: HandlerMetadata) -> None:
    return None


class PumpContract:
    """Subclasses say over which backend, in `backend_config`."""

    backend_config = BackendConfig()

    @pytest.fixture
    async def open_pump(self) -> AsyncIterator[OpenPump]:
        """Start a pump with these listeners: name to handler, or to (handler, settings)."""
        async with AsyncExitStack() as stack:

            async def open_pump(
                listeners: dict[str, Any],
                *,
                limits: Limits | None = None,
                order: ThreadScheduling = "breadth-first",
                **backend: Any,
            ) -> StreamPump:
                organism = Organism(
                    "test",
                    backend=replace(self.backend_config, **backend),
                    limits=limits or Limits(),
                    thread_scheduling=order,
                )
                pump = StreamPump(organism)
                for name, handler in listeners.items():
                    if isinstance(handler, tuple):
                        function, settings = handler
                        payload_class = settings.pop("payload_class", Ping)
                        pump.register(name, function, payload_class, **settings)
                    else:
                        pump.register(name, handler, Ping)
                return await stack.enter_async_context(pump)

            yield open_pump


async def settled(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Let the loop run until *condition* holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
