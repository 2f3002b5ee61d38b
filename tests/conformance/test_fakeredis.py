"""The Redis backend over fakeredis fulfils the contract."""

from collections.abc import Iterator

import fakeredis
import pytest

from backends import BackendConfig, RedisBackend
from tests.conformance.backend_contract import SharedBackendContract
from tests.conformance.backend_hooks import OpenBackend, opener


class TestFakeRedis(SharedBackendContract):
    @pytest.fixture
    def open_backend(self) -> Iterator[OpenBackend]:
        client = fakeredis.FakeRedis()
        yield from opener(
            lambda config: RedisBackend.from_config(config, client=client),
            BackendConfig(backend_type="redis", redis_ttl=self.ttl_s),
        )
        assert client.ping()
        client.close()
