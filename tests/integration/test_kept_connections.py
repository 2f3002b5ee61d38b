"""A connection of an event loop that is kept: what is overdue on it, and what breaks it."""

import asyncio
import time
from collections.abc import AsyncIterator

import hiredis
import pytest
import redis

from backends.contact import Contact
from backends.errors import BackendError
from backends.redis.connection import connect_async, disconnect_async
from backends.redis.line import Line
from backends.redis.pipeliner import Pipeliner
from tests.servers import RedisServer

TIMEOUT_S = 0.5
#: Turns of the event loop by which a connection is made for sure; each is tried.
TURNS_TO_CONNECT = 200
STOPS_S = 30
HEAD = ("nobody:", 0, 60_000, 10)


def packed(*words: str) -> bytes:
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it takes any number
    return command


PING = packed("PING")
#: Never replied to: nobody pushes to it.
SILENCE = packed("BLPOP", "no such list", "0")


@pytest.fixture
async def line(redis_server: RedisServer) -> AsyncIterator[Line]:
    client = connect_async(f"{redis_server.url}?socket_timeout={TIMEOUT_S}")
    line = Line(client)
    yield line
    await line.drop()
    await disconnect_async(client)


async def test_what_is_overdue_is_given_up(line: Line) -> None:
    """Each exchange has all of its time, whatever went before on the connection."""
    assert await line.exchange(PING, 1) == [b"PONG"]
    await asyncio.sleep(TIMEOUT_S / 2)
    assert await line.exchange(PING + PING, 2) == [b"PONG", b"PONG"]
    started = time.monotonic()
    with pytest.raises(redis.exceptions.TimeoutError, match="no reply within"):
        await line.exchange(SILENCE, 1)
    assert TIMEOUT_S <= time.monotonic() - started < 10 * TIMEOUT_S
    assert await line.exchange(PING, 1) == [b"PONG"]


async def test_what_redis_refuses_is_a_reply(line: Line) -> None:
    """Those behind it have theirs."""
    refused, answered = await line.exchange(packed("NO") + PING, 2)
    assert isinstance(refused, redis.ResponseError)
    assert answered == b"PONG"


async def test_a_connection_that_breaks_is_replaced(line: Line, redis_client: redis.Redis) -> None:
    """Whoever waits hears of it at once, as of any lost connection."""
    (own,) = await line.exchange(packed("CLIENT", "ID"), 1)
    waiting = asyncio.create_task(line.exchange(SILENCE, 1))
    await asyncio.sleep(0)
    while not await asyncio.to_thread(redis_client.client_kill_filter, _id=own):
        await asyncio.sleep(0)
    with pytest.raises(redis.exceptions.ConnectionError, match="closed"):
        await waiting
    assert await line.exchange(PING, 1) == [b"PONG"]


async def test_nothing_is_left_of_an_exchange_that_was_cancelled(line: Line) -> None:
    """Its reply is not taken for another's."""
    waiting = asyncio.create_task(line.exchange(SILENCE, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await line.exchange(PING, 1) == [b"PONG"]


async def test_whoever_stops_while_it_connects_has_stopped(redis_server: RedisServer) -> None:
    """Before Python 3.12 a cancellation that meets the end of `asyncio.wait_for` is lost."""
    for turns in range(TURNS_TO_CONNECT):
        client = connect_async(redis_server.url)
        pipeliner = Pipeliner(client, Contact("redis"), head=HEAD, on_waiting=lambda _: None)
        await pipeliner.start()
        # So that it has to connect anew.
        await client.connection_pool.disconnect()
        reply = pipeliner.run("nothing by this name")
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(STOPS_S):
            await pipeliner.stop()
        with pytest.raises(BackendError):
            await reply
        await disconnect_async(client)
