"""State that processes share."""

from backends.codec import deserialize_slot, serialize_slot
from backends.errors import (
    BackendClosedError,
    BackendDeniedError,
    BackendError,
    BackendRefusingError,
    BackendUnavailableError,
    BackendUnreplicatedError,
    BufferFullError,
    CodecError,
    RecordVersionError,
    SignatureError,
    ThreadLimitError,
    UnknownTypeError,
)
from backends.factory import create_backend, get_shared_backend, reset_shared_backend
from backends.manager import ManagerBackend
from backends.memory import InMemoryBackend
from backends.protocol import BackendConfig, SharedBackend
from backends.redis import RedisBackend

__all__ = [
    "BackendClosedError",
    "BackendConfig",
    "BackendDeniedError",
    "BackendError",
    "BackendRefusingError",
    "BackendUnavailableError",
    "BackendUnreplicatedError",
    "BufferFullError",
    "CodecError",
    "InMemoryBackend",
    "ManagerBackend",
    "RecordVersionError",
    "RedisBackend",
    "SharedBackend",
    "SignatureError",
    "ThreadLimitError",
    "UnknownTypeError",
    "create_backend",
    "deserialize_slot",
    "get_shared_backend",
    "reset_shared_backend",
    "serialize_slot",
]
