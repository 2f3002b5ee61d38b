"""The Manager backend with a server process of its own fulfils the contract."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from backends import BackendConfig, ManagerBackend
from backends.protocol import Backend
from tests.conformance.backend_contract import SharedBackendContract
from tests.conformance.backend_hooks import Job, OpenBackend, opener
from tests.conformance.lending_contract import LendingContract
from tests.conformance.processes import run_in_processes, writer_processes


@pytest.fixture(scope="module")
def private_manager() -> Iterator[ManagerBackend]:
    """One private server for the module; tests open it again with their own settings."""
    backend = ManagerBackend()
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def writers() -> Iterator[ProcessPoolExecutor]:
    with writer_processes() as pool:
        yield pool


class TestPrivateManager(SharedBackendContract, LendingContract):
    @pytest.fixture
    def open_backend(self, private_manager: ManagerBackend) -> Iterator[OpenBackend]:
        yield from opener(ManagerBackend, replace(private_manager.lend(), redis_ttl=self.ttl_s))
        private_manager.buffer_clear()
        private_manager.registry_clear()

    @pytest.fixture(autouse=True)
    def _use_processes(self, writers: ProcessPoolExecutor) -> None:
        self.writers = writers

    def in_parallel(self, backend: Backend, job: Job) -> list[Any]:
        return run_in_processes(self.writers, backend.lend(), job)

    def test_close_ends_its_server(self) -> None:
        """Data of a private server ends with it."""
        backend = ManagerBackend(BackendConfig(backend_type="manager"))
        other = ManagerBackend(backend.lend())
        backend.buffer_append("a", b"x")
        assert other.buffer_get_thread("a") == [b"x"]
        backend.close()
        assert not other.ping()
        other.close()
