"""Messages so large that many at once are more than Redis takes from a client, or gives to one."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from backends import BackendConfig
from backends.redis.line import Line
from backends.redis.pipeliner import MAX_BATCH_BYTES
from pipeline import HandlerMetadata, HandlerResponse, Organism, StreamPump
from tests.servers import running_redis

MESSAGES, BYTES = 60, 2 * 1024**2


@dataclass
class Blob:
    data: bytes


@dataclass
class Size:
    size: int


async def measure(payload: Blob, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Size(len(payload.data)))


async def test_many_at_once_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't travel together travels one after the other, and nobody waits for ever."""
    sizes = []
    exchange = Line.exchange

    async def watched(line: Line, packed: bytes, replies: int) -> list[Any]:
        sizes.append(len(packed))
        return await exchange(line, packed, replies)

    monkeypatch.setattr(Line, "exchange", watched)
    with running_redis("--client-output-buffer-limit", "normal 40mb 0 0") as server:
        backend = BackendConfig("redis", redis_url=server.url)
        pump = StreamPump(Organism("large", backend=backend))
        pump.register("measure", measure, Blob)
        async with pump, asyncio.timeout(60):
            blob = Blob(bytes(BYTES))
            answers = await asyncio.gather(
                *(pump.request("measure", blob) for _ in range(MESSAGES))
            )
    assert answers == [Size(BYTES)] * MESSAGES
    assert BYTES < max(sizes) <= MAX_BATCH_BYTES
