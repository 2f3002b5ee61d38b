"""A ledger of one's own in a real Redis, and what it may hold."""

from collections.abc import Iterator

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.mailbox import Envelope, Hop
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch, Outcome
from backends.terms import Terms
from tests.servers import RedisServer

TERMS = Terms(lease_s=60, max_attempts=2)
#: A worker's process.
OWNER = "w/1"


def dispatch_to(listener: str) -> Dispatch:
    return Dispatch(Envelope("m", "c", "s", "chain", "t", listener, "from", b"payload"), "f")


def outcome() -> Outcome:
    hop = Hop("m", "a", "from", "t", "chain", "T", "host:1", 1, 0.0, 0.0)
    return Outcome(dispatch_to("a").envelope, b"done", hop)


@pytest.fixture
def config(redis_server: RedisServer, redis_prefix: str) -> BackendConfig:
    return BackendConfig(
        backend_type="redis",
        redis_url=redis_server.pump_url,
        redis_prefix=redis_prefix,
        redis_ttl=60,
    )


@pytest.fixture
def ledger(config: BackendConfig) -> Iterator[LedgerClient]:
    ledger = LedgerClient(config, Codec(), TERMS)
    yield ledger
    ledger.close()
