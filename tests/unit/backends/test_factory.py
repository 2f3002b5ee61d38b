"""From settings to a backend, and the one that a process shares."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from backends import (
    BackendClosedError,
    BackendConfig,
    InMemoryBackend,
    ManagerBackend,
    RedisBackend,
    create_backend,
    get_shared_backend,
    reset_shared_backend,
)
from tests.servers import free_port


@pytest.fixture(autouse=True)
def _forget_shared() -> Iterator[None]:
    reset_shared_backend()
    yield
    reset_shared_backend()


def test_each_type_has_its_backend() -> None:
    """`backend_type` chooses; neither Redis nor somebody's Manager is called yet."""
    nobody = f"127.0.0.1:{free_port()}"
    configs = {
        InMemoryBackend: BackendConfig(),
        RedisBackend: BackendConfig(backend_type="redis", redis_url=f"redis://{nobody}"),
        ManagerBackend: BackendConfig(
            backend_type="manager", manager_address=nobody, manager_authkey="key"
        ),
    }
    for expected, config in configs.items():
        backend = create_backend(config)
        assert type(backend) is expected
        backend.close()


def test_an_unknown_type_names_the_three() -> None:
    """A typing error is told at once, with what would be right."""
    with pytest.raises(ValueError, match="'memory', 'manager', 'redis'"):
        BackendConfig(backend_type="sqlite")


def test_everybody_gets_the_same_backend() -> None:
    """However many threads ask first at once, one backend is made."""
    barrier = Barrier(16)

    def ask(_: int) -> object:
        barrier.wait(10)
        return get_shared_backend()

    with ThreadPoolExecutor(16) as pool:
        assert len(set(map(id, pool.map(ask, range(16))))) == 1


def test_the_same_config_or_none_is_the_same_backend() -> None:
    """A later caller need not know the settings; one who does may repeat them."""
    config = BackendConfig(max_threads=5)
    backend = get_shared_backend(config)
    assert get_shared_backend() is backend
    assert get_shared_backend(BackendConfig(max_threads=5)) is backend


def test_another_config_is_refused() -> None:
    """A backend that is open under other settings is not handed out silently, nor its secrets."""
    config = BackendConfig(redis_url="redis://:s3cret@h", manager_authkey="s3cret")
    get_shared_backend(config)
    with pytest.raises(ValueError, match="already open with another config") as caught:
        get_shared_backend(BackendConfig(max_threads=6))
    assert "s3cret" not in str(caught.value)


def test_reset_closes_and_forgets() -> None:
    """After a reset the old backend is closed and the next call makes a new one."""
    old = get_shared_backend()
    reset_shared_backend()
    reset_shared_backend()
    with pytest.raises(BackendClosedError):
        old.buffer_list_threads()
    assert get_shared_backend(BackendConfig(max_threads=7)) is not old
