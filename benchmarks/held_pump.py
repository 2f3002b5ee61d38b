"""A pump that starts no hop by itself, so that one step at a time can be measured.

Each step is the pump's own code, handler included; only who calls it is the benchmark.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from backends.mailbox import Envelope
from backends.protocol import BackendConfig
from pipeline import HandlerMetadata, Organism, StreamPump
from pipeline.engine import Engine
from pipeline.organism import Limits

#: Steps on their way at once.
ABREAST = 100
#: Of a payload, encoded with its type's name.
PAYLOAD_BYTES = 200
_UNLIMITED = 2**31


@dataclass
class Parcel:
    text: str


async def drop(payload: Parcel, metadata: HandlerMetadata) -> None:
    return None


def parcel(codec: Any) -> Parcel:
    """One that is `PAYLOAD_BYTES` long on the wire."""
    text = "x" * PAYLOAD_BYTES
    excess = len(codec.encode(Parcel(text))) - PAYLOAD_BYTES
    return Parcel(text[excess:])


def without_limits(config: BackendConfig, keep_closed: int = 1000) -> Organism:
    """An organism of one listener whose door is always open."""
    return Organism(
        "held",
        backend=replace(
            config,
            max_threads=_UNLIMITED,
            max_slots_per_thread=_UNLIMITED,
            keep_closed=keep_closed,
        ),
        limits=Limits(max_waiting=_UNLIMITED),
    )


class HeldPump:
    """A started pump; messages wait in it until `run` takes some."""

    def __init__(self, pump: StreamPump) -> None:
        self._pump = pump
        engine = pump._engine
        if engine is None:
            raise RuntimeError("the pump is not running")
        self.engine: Engine = engine
        self._parcel = parcel(engine.codec)

    async def fill(self, count: int, thread_id: str | None = None) -> None:
        """Inject *count* messages, `ABREAST` at a time."""
        left = count
        while left > 0:
            step = min(left, ABREAST)
            await asyncio.gather(
                *(
                    self._pump.inject("dropper", self._parcel, thread_id=thread_id)
                    for _ in range(step)
                )
            )
            left -= step

    async def take(self, count: int) -> list[Envelope]:
        """Take exactly *count* messages that wait, oldest first."""
        taken: list[Envelope] = []
        while len(taken) < count:
            limit = min(ABREAST, count - len(taken))
            taken += [
                work for work in await self.engine.mailbox.take(limit) if isinstance(work, Envelope)
            ]
        return taken

    async def run(self, count: int) -> None:
        """Take *count* messages, run their handler, settle each hop."""
        left = count
        while left > 0:
            taken = await self.take(min(left, ABREAST))
            await self.settle(taken)
            left -= len(taken)

    async def settle(self, taken: Sequence[Envelope]) -> None:
        """Run the handler of what was taken, and settle each hop, all at once."""
        place = self.engine._places[taken[0].to]
        await asyncio.gather(*(self.engine._hops._hop(place, each) for each in taken))


@asynccontextmanager
async def held_pump(organism: Organism) -> AsyncIterator[HeldPump]:
    """Start one; what waits in it at the end stays where it is."""
    pump = StreamPump(organism)
    pump.register("dropper", drop, Parcel)
    async with pump:
        held = HeldPump(pump)
        await held.engine._hops.stop(drain=True, timeout_s=None)
        # What has been stopped may still be asked to run a hop.
        yield held
