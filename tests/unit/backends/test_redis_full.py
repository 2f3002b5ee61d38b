"""A ledger whose Redis has no memory to spare: all but what is new goes on."""

from collections.abc import Iterator
from contextlib import closing
from threading import Event
from typing import Any

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.errors import BackendRefusingError
from backends.redis.archive import Archive
from backends.redis.ledger import LedgerClient
from tests.servers import running_redis
from tests.unit.backends.conftest import OWNER, TERMS, dispatch_to, outcome


@pytest.fixture
def server_client() -> Iterator[Any]:
    """Of a server of its own, for its limits are everybody's."""
    with running_redis() as server, server.client() as client:
        client.url = server.pump_url
        yield client


@pytest.fixture
def config(server_client: Any) -> BackendConfig:
    return BackendConfig("redis", server_client.url, "full:", redis_ttl=60)


@pytest.fixture
def ledger(config: BackendConfig) -> Iterator[LedgerClient]:
    """Whose worker `w` has one process; `d` and `e` wait to be published."""
    # What is refused is raised, and not tried again.
    is_stopping = Event()
    is_stopping.set()
    with closing(LedgerClient(config, Codec(), TERMS, is_stopping=is_stopping)) as ledger:
        ledger.beat("w", {"p": 1})
        for dispatch_id in "de":
            ledger.record(dispatch_id, "a", dispatch_to("a"), "")
        yield ledger


def test_an_outcome_handed_in_twice_is_too_late(ledger: LedgerClient, server_client: Any) -> None:
    """As it is where the first answer was lost: else its process would ask until there is room."""
    (batch,) = ledger.publishable(1, 1, {})
    assert ledger.claim(OWNER, batch.ids)
    server_client.config_set("maxmemory", 1)
    assert ledger.complete(OWNER, {"d": outcome()}) == [True]
    assert ledger.complete(OWNER, {"d": outcome()}) == [False]


def test_who_holds_nothing_takes_what_waits(ledger: LedgerClient, server_client: Any) -> None:
    """Past the broker."""
    server_client.config_set("maxmemory", 1)
    _, taken = ledger.go_on(OWNER, {}, "a", 1)
    assert [dispatch_id for dispatch_id, _ in taken] == ["d"]


def test_what_the_broker_refuses_is_put_back(ledger: LedgerClient, server_client: Any) -> None:
    """And published in its turn."""
    server_client.config_set("maxmemory", 1)
    batches = ledger.publishable(2, 2, {})
    ledger.put_back(batches)
    assert ledger.publishable(2, 2, {}) == batches


def test_a_dead_letter_is_dropped(config: BackendConfig, server_client: Any) -> None:
    """It is one way to make room."""
    server_client.hset("full:l:letters", "m", b"record")
    server_client.zadd("full:i:letters", {"m": 1})
    server_client.config_set("maxmemory", 1)
    with Archive(config, Codec()) as archive:
        archive.drop("m")
    assert not server_client.keys()


def test_what_is_new_is_refused(ledger: LedgerClient, server_client: Any) -> None:
    """The door is where a full Redis is shut."""
    server_client.config_set("maxmemory", 1)
    kept = ledger.sealed("f", "a", dispatch_to("a"))
    with pytest.raises(BackendRefusingError, match="OOM"):
        ledger.keep("f", kept, "")
