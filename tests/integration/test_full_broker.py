"""What pumps and workers declare, take and send where Redis has no memory to spare."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.transport.redis import Channel, QoS
from redis.exceptions import LockNotOwnedError, OutOfMemoryError
from redis.lock import Lock

from pipeline import StreamPump
from tasks.full_broker import consume_though_full, publish_though_full
from tests.fleet import running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work
from tests.servers import RedisServer, running_redis
from tests.waiting import eventually

#: With the prefix that Celery's applications here have, kombu's pipelines are others.
PREFIXES = ["", "celery.full:"]
MANY = 20
#: What was taken and is not acknowledged.
UNACKED = "celery.full:unacked"


@pytest.fixture
def _as_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker's main process."""
    for name in ("_create_client", "_put", "maybe_refresh_binding_expiry"):
        monkeypatch.setattr(Channel, name, getattr(Channel, name))
    monkeypatch.setattr(QoS, "restore_visible", QoS.restore_visible)
    # One that was made by an earlier test would do.
    monkeypatch.setattr(Lock, "lua_release", None)
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
def test_a_worker_declares_what_expires() -> None:
    """Its control queue."""
    with (
        running_redis("--maxmemory", "1") as server,
        channel_to(server, "celery.full:") as channel,
        server.client() as client,
    ):
        cpu(expires=10.0)(channel).declare()
        assert client.exists("celery.full:_kombu.binding.cpu")


@pytest.mark.usefixtures("_as_worker")
@pytest.mark.parametrize("refusing", ["maxmemory", "min-replicas-to-write"])
def test_what_can_wait_is_refused_quietly(refusing: str, caplog: pytest.LogCaptureFixture) -> None:
    """Kombu puts off the end of what expires; it would say at length each second that it can't."""
    table = "celery.full:_kombu.binding.cpu"
    with (
        running_redis() as server,
        channel_to(server, "celery.full:") as channel,
        server.client() as client,
    ):
        queue = cpu(expires=10.0)(channel)
        queue.declare()
        queue.consume()
        client.delete(table)
        client.config_set(refusing, 1)
        channel.connection.cycle.maybe_refresh_binding_expiry()
        assert not client.exists(table)
        client.config_set(refusing, 0)
        channel.connection.cycle.maybe_refresh_binding_expiry()
        assert client.exists(table)
    assert not caplog.records


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


@pytest.mark.usefixtures("_as_worker")
def test_a_worker_takes_and_acknowledges() -> None:
    """Kombu writes down what is not acknowledged, as `celery.visibility_timeout_s` wants it."""
    with (
        running_redis() as server,
        channel_to(server, "celery.full:") as channel,
        server.client() as client,
    ):
        message = taken_by(channel)
        client.config_set("maxmemory", 1)
        message.ack()
        assert not client.exists(UNACKED)
        second = channel.basic_get("cpu")
        assert client.hlen(UNACKED) == 1
        second.ack()
        assert not client.exists(UNACKED)


@pytest.mark.usefixtures("_as_worker")
def test_what_cannot_be_put_back_is_kept() -> None:
    """Until there is room for it in its queue."""
    with (
        running_redis() as server,
        channel_to(server, "celery.full:") as channel,
        server.client() as client,
    ):
        message = taken_by(channel)
        client.config_set("maxmemory", 1)
        channel.qos.restore_visible()
        with pytest.raises(OutOfMemoryError):
            message.requeue()
        assert (client.hlen(UNACKED), channel._size("cpu")) == (1, 1)
        client.config_set("maxmemory", 0)
        channel.qos.restore_by_tag(message.delivery_tag)
        assert (client.hlen(UNACKED), channel._size("cpu")) == (0, 2)


@pytest.mark.usefixtures("_as_worker")
def test_a_worker_answers_monitors() -> None:
    """Whoever asks what the matter is is told; what else a worker sends is refused."""
    with running_redis("--maxmemory", "1") as server, channel_to(server, "celery.full:") as channel:
        channel._put("1.reply.celery.pidbox", {"properties": {}})
        with pytest.raises(OutOfMemoryError):
            channel._put("cpu", {"properties": {}})
        assert channel._size("1.reply.celery.pidbox") == 1


def taken_by(channel: Any) -> Any:
    """One of two messages; the other waits."""
    cpu()(channel).declare()
    for _ in range(2):
        channel.basic_publish(channel.prepare_message("x"), "cpu", "cpu")
    return channel.basic_get("cpu")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("celery", [{}, {"visibility_timeout_s": 60}], ids=["ledger", "broker"])
async def test_what_is_inside_ends_though_all_connect_anew(
    write: WriteOrganism, redis_prefix: str, tmp_path: Path, celery: dict[str, Any]
) -> None:
    """With acknowledgements and without; nobody raises the limit before all of it has ended."""
    gate, dispatches = tmp_path / "gate", f"{redis_prefix}l:dispatches"
    with running_redis() as server, closing(server.client()) as found:
        client: Any = found
        organism = write(url=server.url, celery=celery)

        def are_some_claimed() -> bool:
            claimed: int = client.hlen(f"{redis_prefix}l:claims")
            return 0 < claimed < MANY and bool(client.hlen(dispatches) == MANY)

        def has_ended() -> bool:
            return not client.exists(dispatches)

        with running_worker(organism) as worker:
            async with StreamPump.from_file(organism) as pump, asyncio.timeout(100):
                requests = (pump.request("work", Work(n, wait_for=str(gate))) for n in range(MANY))
                asked = [asyncio.create_task(each) for each in requests]
                assert await asyncio.to_thread(eventually, are_some_claimed)
                client.config_set("maxmemory", 1)
                for kind in ("normal", "pubsub"):
                    client.client_kill_filter(_type=kind, skipme=True)
                gate.touch()
                assert await asyncio.to_thread(eventually, has_ended), worker.log
                client.config_set("maxmemory", 0)
                answers = await asyncio.gather(*asked)
    assert [answer.number for answer in answers] == list(range(MANY))
