"""What pumps and workers declare and send where Redis has no memory to spare."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.transport.redis import Channel
from redis.exceptions import LockNotOwnedError

from tasks.full_broker import consume_though_full, publish_though_full
from tests.servers import RedisServer, running_redis

#: With the prefix that Celery's applications here have, kombu's pipelines are others.
PREFIXES = ["", "celery.full:"]


@pytest.fixture
def _as_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker's main process."""
    for name in ("_queue_bind", "_create_client"):
        monkeypatch.setattr(Channel, name, getattr(Channel, name))
    consume_though_full()


@contextmanager
def channel_to(server: RedisServer, prefix: str) -> Iterator[Any]:
    options = {"global_keyprefix": prefix}
    with (
        Connection(server.url, transport_options=options) as connection,
        connection.channel() as channel,
    ):
        yield channel


def cpu(**options: float) -> Queue:
    return Queue("cpu", Exchange("cpu"), routing_key="cpu", **options)


def declared_while_full(server: RedisServer, channel: Any, prefix: str, *, is_known: bool) -> None:
    """Counted and deleted as well: or who connects anew then would never free any of it."""
    queue = cpu()
    with server.client() as client:
        if is_known:
            with channel_to(server, prefix) as earlier:
                queue(earlier).declare()
                earlier.basic_publish(earlier.prepare_message("x"), "cpu", "cpu")
        client.config_set("maxmemory", 1)
        queue(channel).declare()
        assert client.smembers(f"{prefix}_kombu.binding.cpu") == {b"cpu\x06\x16\x06\x16cpu"}
        assert channel._size("cpu") == is_known
        channel.queue_delete("cpu")
        assert not client.exists(f"{prefix}cpu", f"{prefix}_kombu.binding.cpu")


@pytest.mark.usefixtures("_as_worker")
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_worker_declares_its_queue(prefix: str, *, is_known: bool) -> None:
    """Every channel of its process does."""
    with running_redis() as server, channel_to(server, prefix) as channel:
        declared_while_full(server, channel, prefix, is_known=is_known)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_pump_declares_the_queue(prefix: str, *, is_known: bool) -> None:
    """The one channel by which it publishes does."""
    with running_redis() as server, channel_to(server, prefix) as channel:
        publish_though_full(channel)
        declared_while_full(server, channel, prefix, is_known=is_known)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_pump_publishes(prefix: str) -> None:
    """What it sends frees what waits."""
    with running_redis("--maxmemory", "1") as server, channel_to(server, prefix) as channel:
        publish_though_full(channel)
        cpu()(channel).declare()
        channel.basic_publish(channel.prepare_message("x"), "cpu", "cpu")
        assert channel._size("cpu") == 1


@pytest.mark.usefixtures("_as_worker")
def test_a_worker_keeps_what_expires() -> None:
    """Its control queue is bound, and stays so: else the log would hear of it each second."""
    prefix = "celery.full:"
    with (
        running_redis() as server,
        channel_to(server, prefix) as channel,
        server.client() as client,
    ):
        client.config_set("maxmemory", 1)
        queue = cpu(expires=10.0)(channel)
        queue.declare()
        queue.consume()
        client.delete(f"{prefix}_kombu.binding.cpu")
        channel.maybe_refresh_binding_expiry()
        assert client.exists(f"{prefix}_kombu.binding.cpu")


@pytest.mark.usefixtures("_as_worker")
def test_a_lock_of_another_is_left_alone() -> None:
    """What its release finds to be another's still ends by itself."""
    with (
        running_redis() as server,
        channel_to(server, "") as channel,
        channel.conn_or_acquire() as client,
        server.client() as other,
    ):
        lock = client.lock("lock", timeout=60)
        assert lock.acquire(blocking=False)
        other.set("lock", "another's", px=50_000)
        with pytest.raises(LockNotOwnedError):
            lock.release()
        assert other.pttl("lock") > 0
