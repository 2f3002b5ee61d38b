"""Whoever asks in vain, and again and again, leaves nothing behind."""

import asyncio
from contextlib import closing
from typing import Any

import pytest

from backends import BackendConfig
from pipeline import HandlerMetadata, HandlerResponse, Organism, StreamPump
from tests.proxy import running_proxy
from tests.servers import free_port, running_redis
from tests.soak.handlers import Load

#: More than travel at once.
MANY, TIMES = 300, 5


async def echo(payload: Load, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


@pytest.mark.parametrize("is_full", [False, True], ids=["away", "full"])
async def test_what_nobody_awaits_any_more_is_not_sent(*, is_full: bool) -> None:
    """A pump would else let in any number once Redis is back, or has room."""
    with (
        running_redis() as server,
        running_proxy(server.port) as proxy,
        closing(server.client()) as found,
    ):
        client: Any = found
        url = f"redis://127.0.0.1:{proxy.port}/0"
        pump = StreamPump(Organism("test", backend=BackendConfig("redis", url, "vain:")))
        pump.register("echo", echo, Load)
        async with pump, asyncio.timeout(30):
            if is_full:
                client.config_set("maxmemory", 1)
            else:
                proxy.lead_to(free_port())
                proxy.cut()
            patient = [asyncio.create_task(pump.request("echo", Load(2, ""))) for _ in range(MANY)]
            for _ in range(TIMES):
                asked = (pump.request("echo", Load(1, ""), timeout_s=0.1) for _ in range(MANY))
                told = await asyncio.gather(*asked, return_exceptions=True)
                assert {type(each) for each in told} == {TimeoutError}
            client.config_set("maxmemory", 0)
            proxy.lead_to(server.port)
            assert {answer.number for answer in await asyncio.gather(*patient)} == {2}
            assert (await pump.request("echo", Load(2, ""))).number == 2
            assert int(client.hget("vain:l:counts", "accepted")) == MANY + 1
