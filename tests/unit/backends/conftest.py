"""A ledger of one's own in a real Redis."""

from collections.abc import Iterator

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.redis.ledger import LedgerClient
from backends.terms import Terms
from tests.servers import RedisServer

TERMS = Terms(lease_s=60, max_attempts=2)


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
