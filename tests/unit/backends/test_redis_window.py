"""How much is published ahead of the processes, and who has more published."""

from typing import Any

import pytest
import redis

from backends import BackendConfig
from backends.redis.ledger import Batch, LedgerClient
from tests.unit.backends.conftest import OWNER, dispatch_to, outcome

#: Of long runs one batch for each process is enough.
LONG = {"a": 1}


def record(ledger: LedgerClient, listeners: str) -> None:
    """One dispatch to each listener that is spelt."""
    for number, listener in enumerate(listeners):
        ledger.record(f"{listener}{number}", listener, dispatch_to(listener), "")


def ids(batches: list[Batch]) -> list[str]:
    return [batch.ids for batch in batches]


def entries(client: redis.Redis, config: BackendConfig) -> list[dict[bytes, bytes]]:
    """What pumps are told, oldest first."""
    found: Any = client.xrange(f"{config.redis_prefix}s:inbox")
    return [fields for _, fields in found]


def wakes(client: redis.Redis, config: BackendConfig) -> int:
    """How often a pump was woken to publish, and for nothing else."""
    return sum(b"w" in fields for fields in entries(client, config))


def test_of_long_runs_one_for_each_process_is_published_and_one_more(ledger: LedgerClient) -> None:
    """The rest waits where a process that is done takes it past the broker."""
    ledger.beat("w", {"p": 2})
    record(ledger, "a" * 10)
    assert ids(ledger.publishable(4, 100, {}, LONG)) == ["a0", "a1", "a2"]
    assert not ledger.may_have_more
    assert ledger.publishable(4, 100, {}, LONG) == []
    ledger.claim(OWNER, "a0")
    assert ids(ledger.publishable(4, 100, {}, LONG)) == ["a3"]


@pytest.mark.parametrize(("window", "enough", "expected"), [(1, 1, 2), (2, 9, 4), (4, 2, 5)])
def test_never_more_than_the_window(
    ledger: LedgerClient, window: int, enough: int, expected: int
) -> None:
    """However little is known, or however much would be enough."""
    ledger.beat("w", {"p": 2})
    record(ledger, "a" * 10)
    assert len(ledger.publishable(window, 100, {}, {"a": enough})) == expected


def test_short_runs_keep_the_window_beside_long_ones(ledger: LedgerClient) -> None:
    """What waits in vain for a place keeps those behind it back, or it would wait for ever."""
    ledger.beat("w", {"p": 1})
    record(ledger, "bbabab")
    assert ids(ledger.publishable(4, 100, {}, LONG)) == ["b0", "b1"]
    assert ledger.publishable(4, 100, {}, LONG) == []
    ledger.claim(OWNER, "b0")
    # Of those behind it as many as the window has room for.
    assert ids(ledger.publishable(4, 100, {}, LONG)) == ["a2"]
    ledger.claim(OWNER, "b1")
    ledger.claim(OWNER, "a2")
    assert ids(ledger.publishable(4, 100, {}, LONG)) == ["b3", "a4", "b5"]


def test_batches_are_filled_all_the_same(ledger: LedgerClient) -> None:
    ledger.beat("w", {"p": 1})
    record(ledger, "a" * 9)
    batches = ledger.publishable(4, 100, {"a": 2}, LONG)
    assert [len(each.split()) for each in ids(batches)] == [2, 2]


def test_what_left_with_a_worker_is_published_again(ledger: LedgerClient) -> None:
    """For those who are left; it takes the places it had."""
    ledger.beat("stays", {"p": 1})
    ledger.beat("leaves", {"p": 2})
    record(ledger, "a" * 9)
    assert ids(ledger.publishable(4, 100, {}, LONG)) == ["a0", "a1", "a2", "a3"]
    ledger.claim("leaves/1", "a0")
    ledger.leave("leaves")
    # What was published comes first, for nobody but the one who left may have it.
    assert set(ids(ledger.publishable(4, 100, {}, LONG))) <= {"a0", "a1", "a2", "a3"}


@pytest.mark.parametrize(("published", "is_asked"), [(2, True), (3, False)])
def test_an_outcome_asks_for_more_where_little_is_on_its_way(
    ledger: LedgerClient,
    config: BackendConfig,
    redis_client: redis.Redis,
    published: int,
    is_asked: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """One batch for each process and one more will do until the next outcome."""
    ledger.beat("w", {"p": 2})
    record(ledger, "a" * 10)
    ledger.publishable(published, 1 + published, {})
    ledger.claim(OWNER, "a0")
    ledger.complete(OWNER, {"a0": outcome()})
    assert (b"r" in entries(redis_client, config)[-1]) is is_asked


def test_who_comes_later_has_a_pump_woken(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis
) -> None:
    """Not at each beat: where no pump lives nobody would take that out."""
    ledger.beat("early", {"p": 1})
    record(ledger, "a" * 10)
    ledger.publishable(4, 100, {}, LONG)
    ledger.beat("early", {"p": 1})
    assert wakes(redis_client, config) == 0
    ledger.beat("late", {"p": 4})
    assert wakes(redis_client, config) == 1
    ledger.beat("late", {"p": 4})
    assert wakes(redis_client, config) == 1
    assert len(ledger.publishable(4, 100, {}, LONG)) == 4


def test_the_last_claim_has_a_pump_woken(
    ledger: LedgerClient, config: BackendConfig, redis_client: redis.Redis
) -> None:
    """Whoever is free next would have to wait until somebody's run has ended."""
    ledger.beat("w", {"p": 2})
    record(ledger, "a" * 10)
    ledger.publishable(1, 100, {})
    ledger.claim(OWNER, "a0")
    assert wakes(redis_client, config) == 0
    ledger.claim("w/2", "a1")
    assert wakes(redis_client, config) == 1
