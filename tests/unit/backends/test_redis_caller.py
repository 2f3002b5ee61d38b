"""Commands one by one, on connections that are kept."""

import os
import threading
import traceback
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from backends.errors import BackendError, BackendUnavailableError
from backends.redis import caller as module
from backends.redis.caller import Caller
from backends.redis.connection import connect, disconnect
from tests.servers import RedisServer


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = connect(redis_server.url)
    yield client
    disconnect(client)


@pytest.fixture
def caller(client: redis.Redis, redis_prefix: str) -> Iterator[Caller]:
    caller = Caller(client, head=(redis_prefix, 60_000), scripts=("count",))
    yield caller
    caller.close()


def kill(redis_client: redis.Redis, caller: Caller) -> None:
    """Have the server close the caller's connection."""
    redis_client.client_kill_filter(_id=caller.call("CLIENT", "ID"))


def test_scripts_are_loaded_when_they_are_missing(
    caller: Caller, redis_client: redis.Redis
) -> None:
    """At first, and after the server has forgotten them."""
    assert caller.run("count") == [0, 0]
    redis_client.script_flush()
    assert caller.run("count") == [0, 0]


def test_an_error_is_ours_and_costs_no_connection(caller: Caller, redis_prefix: str) -> None:
    """What Redis refuses it refuses in a whole reply."""
    connection = caller.call("CLIENT", "ID")
    caller.call("SET", f"{redis_prefix}s", "x", "EX", 60)
    with pytest.raises(BackendError, match="WRONGTYPE"):
        caller.call("LLEN", f"{redis_prefix}s")
    with pytest.raises(BackendError, match="WRONGTYPE"):
        caller.call("HGET", f"{redis_prefix}s", "f")
    assert caller.call("CLIENT", "ID") == connection


def test_what_a_server_repeats_is_in_no_traceback(caller: Caller) -> None:
    """It quotes a command that it does not know, password and all; no cause shows that either."""
    # A traceback shows this test's lines as well.
    password = uuid4().hex
    with pytest.raises(BackendError, match="unknown command") as caught:
        caller.call("HALLO", "3", "AUTH", "me", password)
    assert password not in "".join(traceback.format_exception(caught.value))


def test_a_connection_that_broke_is_replaced(
    caller: Caller, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that broke in use says so once; one that broke at rest is noticed before it is used."""
    kill(redis_client, caller)
    with pytest.raises(BackendUnavailableError, match="does not answer"):
        caller.call("PING")
    assert caller.call("PING") in (b"PONG", "PONG", True)
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    kill(redis_client, caller)
    assert caller.call("PING") in (b"PONG", "PONG", True)


def test_each_thread_gets_its_own_replies(caller: Caller) -> None:
    """And what is at rest is used again."""
    found: dict[int, list[bytes]] = {}

    def ask(number: int) -> None:
        found[number] = [caller.call("ECHO", f"{number}.{turn}") for turn in range(200)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {
        number: [f"{number}.{turn}".encode() for turn in range(200)] for number in range(8)
    }


def test_a_fork_has_connections_of_its_own(caller: Caller) -> None:
    """Two processes on one connection would read each other's replies."""
    connection = caller.call("CLIENT", "ID")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"%d" % caller.call("CLIENT", "ID"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert int(told.read()) != connection
    os.waitpid(pid, 0)
    assert caller.call("CLIENT", "ID") == connection
