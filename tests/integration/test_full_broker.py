"""What a worker declares where Redis has no memory to spare."""

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.transport.redis import Channel

from tasks.full_broker import consume_though_full
from tests.servers import running_redis


@pytest.fixture
def _consuming(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker's main process."""
    for name in ("_queue_bind", "_size", "_delete"):
        monkeypatch.setattr(Channel, name, getattr(Channel, name))
    consume_though_full()


@pytest.mark.usefixtures("_consuming")
@pytest.mark.parametrize("is_known", [False, True])
def test_a_queue_is_declared_though_redis_is_full(*, is_known: bool) -> None:
    """And deleted: or who connects anew then would never free any of it."""
    with running_redis() as server, server.client() as client:
        queue = Queue("cpu", Exchange("cpu"), routing_key="cpu")
        if is_known:
            with Connection(server.url) as connection, connection.channel() as channel:
                queue(channel).declare()
                channel.basic_publish(channel.prepare_message("x"), "cpu", "cpu")
        client.config_set("maxmemory", 1)
        with Connection(server.url) as connection, connection.channel() as channel:
            queue(channel).declare()
            assert channel._size("cpu") == is_known
            channel.queue_delete("cpu")
            assert not client.exists("cpu")
