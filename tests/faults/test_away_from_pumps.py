"""A Redis that does not answer while a pump starts, while it is asked, or while it stops."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from backends import BackendConfig
from pipeline import HandlerMetadata, HandlerResponse, Organism, PumpStoppedError, StreamPump
from tests.proxy import Proxy, running_proxy
from tests.servers import RedisServer, free_port


@dataclass
class Ask:
    number: int = 0


async def echo(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with running_proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def pump(proxy: Proxy, redis_prefix: str) -> StreamPump:
    url = f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=2"
    pump = StreamPump(Organism("test", backend=BackendConfig("redis", url, redis_prefix)))
    pump.register("echo", echo, Ask)
    return pump


async def test_a_start_that_waits_keeps_the_loop_from_nobody(
    pump: StreamPump, proxy: Proxy
) -> None:
    """What else runs there goes on: here it is what ends the wait."""
    proxy.freeze()
    starting = asyncio.create_task(pump.start())
    await asyncio.sleep(0.3)
    proxy.thaw()
    await starting
    assert await pump.request("echo", Ask(1)) == Ask(1)
    await pump.shutdown()


async def test_who_waits_for_redis_hears_that_the_pump_stopped(
    pump: StreamPump, proxy: Proxy
) -> None:
    """Who sends as well as who asks."""
    await pump.start()
    proxy.freeze()
    waiting = [
        asyncio.create_task(pump.inject("echo", Ask())),
        asyncio.create_task(pump.request("echo", Ask())),
        asyncio.create_task(pump.request("echo", Ask(), thread_id="named")),
    ]
    await asyncio.sleep(0)
    await pump.shutdown()
    for each in waiting:
        with pytest.raises(PumpStoppedError):
            await each


async def test_who_names_a_conversation_waits_like_everybody(
    pump: StreamPump, proxy: Proxy, redis_server: RedisServer
) -> None:
    """Until Redis is back, for it has to be asked which conversation that is."""
    async with pump:
        proxy.lead_to(free_port())
        proxy.cut()
        waiting = asyncio.create_task(pump.request("echo", Ask(1), thread_id="named"))
        await asyncio.wait([waiting], timeout=0.5)
        proxy.lead_to(redis_server.port)
        assert await waiting == Ask(1)
