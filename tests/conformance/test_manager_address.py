"""The Manager backend with somebody else's server fulfils the contract."""

from collections.abc import Iterator

import pytest

from backends import BackendConfig, ManagerBackend
from backends.manager import StoreServer
from backends.store import MemoryStore
from tests.conformance.backend_contract import SharedBackendContract
from tests.conformance.backend_hooks import OpenBackend, opener
from tests.conformance.lending_contract import LendingContract


class TestManagerAddress(SharedBackendContract, LendingContract):
    """The server's clock is ours, so time costs nothing here."""

    ttl_s = 100.0
    now = 0.0

    @pytest.fixture
    def open_backend(self) -> Iterator[OpenBackend]:
        server = StoreServer(MemoryStore(clock=lambda: self.now), authkey="key")
        server.start()
        config = BackendConfig(
            backend_type="manager",
            manager_address=server.address,
            manager_authkey="key",
            redis_ttl=self.ttl_s,
        )
        yield from opener(ManagerBackend, config)
        server.stop()

    def elapse(self, seconds: float) -> None:
        self.now += seconds

    def test_clients_share_data_each_with_its_own_limits(self, open_backend: OpenBackend) -> None:
        """Limits and time to live are the client's; no write brings an end nearer."""
        strict, mortal = open_backend(max_slots_per_thread=1), open_backend(redis_ttl=10)
        strict.buffer_append("a", b"0")
        assert mortal.buffer_append("a", b"1") == 1
        self.elapse(50)
        assert strict.buffer_get_thread("a") == [b"0", b"1"]
