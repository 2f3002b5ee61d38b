"""Single calls that Redis has lost, as whoever reads their outcomes sees it."""

import asyncio
from collections.abc import Callable

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
