"""A process that is done takes what waits, past the broker."""

from collections.abc import Iterator

import msgspec
import pytest
import redis

from backends import BackendConfig
from backends.codec import Codec
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch
from backends.redis.scripts import script_digest, script_text
from tests.proxy import Proxy, running_proxy
from tests.servers import RedisServer
from tests.unit.backends.conftest import OWNER, TERMS, dispatch_to, outcome


def holding_one(ledger: LedgerClient, waiting: str, *, processes: int = 1) -> None:
    """A worker's process runs `d`; the rest wait, one to each listener that *waiting* spells."""
    ledger.beat("w", {"p": processes})
    ledger.record("d", "a", dispatch_to("a"), "")
    (batch,) = ledger.publishable(1, 1, {})
    assert ledger.claim(OWNER, batch.ids)
    for number, listener in enumerate(waiting):
        ledger.record(f"{listener}{number}", listener, dispatch_to(listener), "")


def taken(ledger: LedgerClient, wanted: int) -> list[str]:
    accepted, found = ledger.go_on(OWNER, {"d": outcome()}, "a", wanted)
    assert accepted == [True]
    return [dispatch_id for dispatch_id, _ in found]


@pytest.mark.parametrize(
    ("waiting", "wanted", "processes", "expected"),
    [
        ("aaa", 2, 1, ["a0", "a1"]),
        # Each other process could take as much.
        ("aaa", 3, 2, ["a0", "a1"]),
        # What is another listener's has its turn by the broker.
        ("aba", 3, 1, ["a0"]),
        ("ba", 3, 1, []),
        ("", 3, 1, []),
    ],
)
def test_it_takes_the_oldest_of_its_listener(
    ledger: LedgerClient, waiting: str, wanted: int, processes: int, expected: list[str]
) -> None:
    """In order, and no more than its share."""
    holding_one(ledger, waiting, processes=processes)
    assert taken(ledger, wanted) == expected


def test_it_takes_few_large_ones_at_a_time(ledger: LedgerClient) -> None:
    """Some MiB, and no more than one beyond."""
    holding_one(ledger, "")
    envelope = msgspec.structs.replace(dispatch_to("a").envelope, payload=bytes(3 * 2**20))
    of_3_mib = Dispatch(envelope, "f")
    for number in range(9):
        ledger.record(f"a{number}", "a", of_3_mib, "")
    assert taken(ledger, 9) == ["a0", "a1"]


def test_what_is_published_does_not_wait_behind_what_is_not(ledger: LedgerClient) -> None:
    """Only where more waits than the broker has does a process pass that by."""
    holding_one(ledger, "aaaa")
    assert len(ledger.publishable(2, 2, {})) == 2
    assert taken(ledger, 3) == []


def test_a_process_that_is_to_end_takes_nothing(ledger: LedgerClient) -> None:
    """Its worker was told to stop, or has lost its lease."""
    holding_one(ledger, "aa")
    ledger.beat("w", {"p": 0})
    assert taken(ledger, 1) == []


def test_one_that_was_taken_for_dead_takes_nothing(ledger: LedgerClient) -> None:
    """Its outcome comes too late; what it took would be another's soon."""
    holding_one(ledger, "aa")
    ledger.bury("w", {1: ""})
    assert ledger.go_on(OWNER, {"d": outcome()}, "a", 1) == ([False], [])


def test_a_suspect_is_left_for_a_message_of_its_own(ledger: LedgerClient) -> None:
    """It may kill the process, and what else that had taken."""
    holding_one(ledger, "aa")
    ledger.bury("w", {1: "d"})
    (batch,) = ledger.publishable(1, 1, {})
    assert batch.ids == "d"
    ledger.put_back([batch])
    assert ledger.go_on(OWNER, {}, "a", 3) == ([], [])


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with running_proxy(redis_server.port) as proxy:
        yield proxy


def test_what_it_took_without_hearing_of_it_is_told_again(
    ledger: LedgerClient, config: BackendConfig, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """A claim of a live process that nobody runs would never end."""
    holding_one(ledger, "aaa")
    url = f"redis://127.0.0.1:{proxy.port}/0"
    behind = BackendConfig(
        backend_type="redis", redis_url=url, redis_prefix=config.redis_prefix, redis_ttl=60
    )
    deaf = LedgerClient(behind, Codec(), TERMS)
    # The answer that is lost must not be that there is no such script.
    redis_client.script_load(script_text("complete"))
    proxy.lose_answer_to(script_digest("complete").encode())
    # The outcome went in the first time.
    accepted, found = deaf.go_on(OWNER, {"d": outcome()}, "a", 2)
    deaf.close()
    assert proxy.has_lost
    assert accepted == [False]
    assert sorted(dispatch_id for dispatch_id, _ in found) == ["a0", "a1"]
    claims = redis_client.hgetall(f"{config.redis_prefix}l:claims")
    assert claims == {b"a0": b"w/1", b"a1": b"w/1"}
