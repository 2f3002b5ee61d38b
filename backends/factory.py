"""From settings to a backend, and the one backend that a process shares."""

from threading import Lock

from backends.manager import ManagerBackend
from backends.memory import InMemoryBackend
from backends.protocol import Backend, BackendConfig
from backends.redis import RedisBackend


def create_backend(config: BackendConfig) -> Backend:
    """A new backend as *config* describes it; the caller closes it."""
    match config.backend_type:
        case "memory":
            return InMemoryBackend(config)
        case "manager":
            return ManagerBackend(config)
        case _:
            return RedisBackend.from_config(config)


class _Shared:
    """The backend of this process, and what it was made from."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.opened: tuple[BackendConfig, Backend] | None = None


_shared = _Shared()


def get_shared_backend(config: BackendConfig | None = None) -> Backend:
    """The backend of this process; the first call makes it, by default in memory.

    Raises:
        ValueError: it is open already, with another config than this one.
    """
    with _shared.lock:
        if _shared.opened is None:
            made_from = config or BackendConfig()
            _shared.opened = made_from, create_backend(made_from)
        made_from, backend = _shared.opened
        if config is not None and config != made_from:
            raise ValueError(
                f"the shared backend is already open with another config: {made_from};"
                " call reset_shared_backend() first"
            )
        return backend


def reset_shared_backend() -> None:
    """Close the backend of this process and forget it; without one, do nothing."""
    with _shared.lock:
        opened, _shared.opened = _shared.opened, None
        if opened is not None:
            opened[1].close()
