"""The in-memory backend fulfils the contract; it is the reference for the others."""

from collections.abc import Iterator

import pytest

from backends import BackendConfig, InMemoryBackend
from tests.conformance.backend_contract import SharedBackendContract
from tests.conformance.backend_hooks import OpenBackend, opener
from tests.conformance.lending_contract import LendingContract


class TestMemory(SharedBackendContract, LendingContract):
    borrowers_write = False
    ttl_s = 100.0
    now = 0.0

    @pytest.fixture
    def open_backend(self) -> Iterator[OpenBackend]:
        yield from opener(
            lambda config: InMemoryBackend(config, clock=lambda: self.now),
            BackendConfig(redis_ttl=self.ttl_s),
        )

    def elapse(self, seconds: float) -> None:
        self.now += seconds
