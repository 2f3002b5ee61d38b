"""Single calls that Redis has lost, as whoever reads their outcomes sees it."""

import asyncio
import gc
import time
from collections.abc import Callable

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.redis.ledger import LedgerClient
from backends.terms import Terms
from tasks.outcomes import OutcomeReader
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_a_loss_that_is_noticed_twice_counts_once(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """Before the loop, which stands still, has had the call recorded again."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    reader = OutcomeReader(LedgerClient(config, Codec(), Terms(lease_s=0.6)), lambda: None)
    look, noticed, sent = reader._lost, [], []

    def look_and_note() -> list[tuple[str, int]]:
        lost = look()
        noticed.extend(lost)
        return lost

    def record(on_recorded: Callable[[], None]) -> None:
        """As if something deleted it at once."""
        sent.append("call")
        on_recorded()

    reader._lost = look_and_note  # type: ignore[method-assign]
    await asyncio.to_thread(reader.start)
    outcome = reader.expect("call", "work", record)
    try:
        # Not in a thread.
        assert eventually(lambda: len(noticed) >= 3)
        await asyncio.sleep(0)
        assert len(sent) == 2
        assert not outcome.done()
    finally:
        outcome.cancel()
        await asyncio.to_thread(reader.stop)


async def test_calls_come_and_go_while_they_are_looked_at(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """Threads may take turns wherever objects are made."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    reader = OutcomeReader(LedgerClient(config, Codec(), Terms(lease_s=60.0)), lambda: None)
    thresholds = gc.get_threshold()

    def take_turns(phase: str, info: object) -> None:
        time.sleep(0)

    def look() -> None:
        for _ in range(20):
            reader._must_look = True
            reader._lost()

    for number in range(200):
        reader.expect(f"waits-{number}", "work", lambda _: None)
    gc.callbacks.append(take_turns)
    gc.set_threshold(5)
    try:
        looking = asyncio.create_task(asyncio.to_thread(look))
        number = 0
        while not looking.done():
            reader.expect(f"comes-{number}", "work", lambda _: None).cancel()
            number += 1
            await asyncio.sleep(0)
        await looking
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(take_turns)
        reader._ledger.close()


async def test_a_fault_ends_no_reading(
    redis_server: RedisServer, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waits for another outcome gets it."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    reader = OutcomeReader(LedgerClient(config, Codec(), Terms(lease_s=60.0)), lambda: None)
    looks = []

    def fail_once() -> list[tuple[str, int]]:
        looks.append("")
        if len(looks) == 1:
            raise RuntimeError("a fault")
        return []

    reader._lost = fail_once  # type: ignore[method-assign]
    await asyncio.to_thread(reader.start)
    try:
        assert await asyncio.to_thread(eventually, lambda: len(looks) >= 2)
        assert caplog.text.count("reading failed") == 1
    finally:
        await asyncio.to_thread(reader.stop)
