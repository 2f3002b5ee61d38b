"""The thread that renews a pump's lease goes on, whatever its beats run into."""

import logging
from threading import Event

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.redis.caretaker import Backlog
from backends.redis.ledger import LedgerClient
from backends.terms import Terms
from tests.servers import RedisServer


def test_an_unexpected_error_costs_no_lease(
    redis_server: RedisServer, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next beat comes."""
    config = BackendConfig("redis", redis_url=redis_server.url, redis_prefix=redis_prefix)
    ledger = LedgerClient(config, Codec(realm=redis_prefix), Terms(lease_s=0.5))
    beats, has_recovered = 0, Event()

    def on_beat(_: Backlog) -> None:
        nonlocal beats
        beats += 1
        if beats == 2:
            raise RuntimeError("nobody expected this")
        if beats > 2:
            has_recovered.set()

    caretaker = ledger.caretaker("someone", on_beat)
    caretaker.start()
    try:
        with caplog.at_level(logging.ERROR):
            assert has_recovered.wait(10)
        assert [each.message for each in caplog.records] == ["supervision failed"]
    finally:
        caretaker.stop()
        ledger.close()
