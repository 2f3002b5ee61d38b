"""A name that leads to the primary leads elsewhere from now on, and no connection breaks."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import BackendUnavailableError, RedisBackend
from pipeline import StreamPump
from tests.fleet import write_organism
from tests.integration.worker_handlers import Done, Work
from tests.proxy import Proxy, running_proxy
from tests.servers import RedisServer, running_redis
from tests.waiting import eventually

MODULE = "tests.integration.worker_handlers"


class Pair:
    """A primary, its replica, and what leads to whichever is the primary."""

    def __init__(self, first: RedisServer, second: RedisServer, name: Proxy) -> None:
        self._first, self._second, self._name = first, second, name
        self.url = f"redis://127.0.0.1:{name.port}/0"

    def swap(self) -> None:
        """The replica becomes the primary and the primary its replica; nobody is disconnected."""
        with self._first.client() as old, self._second.client() as new:
            assert eventually(lambda: new.info("replication")["master_link_status"] == "up")
            new.replicaof("NO", "ONE")
            self._name.lead_to(self._second.port)
            old.replicaof("127.0.0.1", str(self._second.port))
            assert eventually(lambda: old.info("replication")["master_link_status"] == "up")


@pytest.fixture
def pair() -> Iterator[Pair]:
    at_once = ("--repl-diskless-sync-delay", "0")
    with running_redis(*at_once) as first, running_proxy(first.port) as name:
        follows = ("--replicaof", "127.0.0.1", str(first.port))
        with running_redis(*at_once, *follows) as second:
            yield Pair(first, second, name)


async def test_everybody_asks_for_the_new_primary(pair: Pair, tmp_path: Path) -> None:
    """READONLY, in answer to a script or inside of its reply, costs the connection."""
    listener = {"name": "work", "handler": f"{MODULE}.work", "payload_class": f"{MODULE}.Work"}
    organism = write_organism(tmp_path / "organism.yaml", pair.url, "test:", [listener])
    backend = RedisBackend(pair.url, "test-threads:", ttl=60)
    async with StreamPump.from_file(organism) as pump:
        done: Done = await pump.request("work", Work(1))
        assert done.number == 1
        backend.buffer_append("a", b"x")
        await asyncio.to_thread(pair.swap)
        async with asyncio.timeout(20):
            done = await pump.request("work", Work(2))
            assert done.number == 2
            assert await asyncio.to_thread(eventually, lambda: _has_appended(backend))
    backend.close()


def _has_appended(backend: RedisBackend) -> bool:
    try:
        return backend.buffer_append("a", b"y") == 1
    except BackendUnavailableError:
        return False
