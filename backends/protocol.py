"""The contract every shared backend fulfils, and the settings it is made from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import msgspec

BackendType = Literal["memory", "manager", "redis"]
BACKEND_TYPES: tuple[str, ...] = get_args(BackendType)


@dataclass(frozen=True)
class BackendConfig:
    """Which backend, where it is, and its limits.

    Raises:
        ValueError: *backend_type* is none of the three, or a number is out of range.
    """

    backend_type: str = "memory"
    redis_url: str = field(default="redis://localhost:6379", repr=False)
    redis_prefix: str = "xp:"
    #: Seconds a thread lives after its last write, whatever the backend; 0 is for ever.
    redis_ttl: float = 86400
    #: `host:port` or the path of a Unix socket; None starts a private server.
    manager_address: str | None = None
    manager_authkey: bytes | str | None = field(default=None, repr=False)
    max_slots_per_thread: int = 10_000
    max_threads: int = 1_000
    #: Ended conversations kept for `trace`; older ones are deleted at once.
    keep_closed: int = 1_000
    #: Replicas of Redis that must have what a pump wrote before anybody hears of it; 0: none.
    redis_replicas: int = 0

    def __post_init__(self) -> None:
        if self.backend_type not in BACKEND_TYPES:
            known = ", ".join(repr(name) for name in BACKEND_TYPES)
            raise ValueError(f"backend_type must be one of {known}, got {self.backend_type!r}")
        if not 0 <= self.redis_ttl < math.inf:
            raise ValueError(f"redis_ttl must be 0 (never) or more seconds, got {self.redis_ttl!r}")
        for name in ("max_slots_per_thread", "max_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        for name in ("keep_closed", "redis_replicas"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)!r}")


@runtime_checkable
class SharedBackend(Protocol):
    """State shared by the pump and its workers: thread buffers and the thread registry.

    Every method is synchronous and atomic, safe from many threads and, for
    Manager and Redis, from many processes. A thread that is not written for
    `redis_ttl` seconds is gone, buffer and registry entries together. A write to
    a thread (a slot, or its registry entry) refreshes both, and those of its
    callers, as `chains.callers` tells them from its chain.

    Any method but `ping` and `close` may raise `BackendUnavailableError` (the store
    does not answer) or `BackendClosedError` (after `close`).
    """

    def buffer_append(self, thread_id: str, slot_data: bytes) -> int:
        """Append one slot; the 0-based index it got.

        N concurrent writers get exactly the indices 0..N-1.

        Raises:
            BufferFullError: the thread holds `max_slots_per_thread` slots.
            ThreadLimitError: the thread is new and `max_threads` have slots already.
        """
        ...

    def buffer_get_thread(self, thread_id: str) -> list[bytes]:
        """All slots in order; empty when the thread is unknown."""
        ...

    def buffer_get_slot(self, thread_id: str, index: int) -> bytes | None:
        """One slot; None out of range, negative indices included."""
        ...

    def buffer_thread_len(self, thread_id: str) -> int:
        """How many slots the thread has; 0 when unknown."""
        ...

    def buffer_thread_exists(self, thread_id: str) -> bool:
        """True when the thread has a slot."""
        ...

    def buffer_delete_thread(self, thread_id: str) -> bool:
        """Delete the thread's slots, not its registry entry; True if there were any."""
        ...

    def buffer_list_threads(self) -> list[str]:
        """Ids of all threads with slots, in no promised order."""
        ...

    def buffer_clear(self) -> None:
        """Delete every slot under this prefix, nothing else."""
        ...

    def registry_set(self, chain: str, uuid: str) -> None:
        """Link *chain* and *uuid*; a former partner of either is unlinked in the same step."""
        ...

    def registry_get_uuid(self, chain: str) -> str | None:
        """The uuid linked to *chain*."""
        ...

    def registry_get_chain(self, uuid: str) -> str | None:
        """The chain linked to *uuid*."""
        ...

    def registry_delete(self, uuid: str) -> bool:
        """Unlink *uuid* in both directions; True if it was linked."""
        ...

    def registry_list_all(self) -> dict[str, str]:
        """All links, uuid to chain."""
        ...

    def registry_clear(self) -> None:
        """Delete every link under this prefix, nothing else."""
        ...

    def close(self) -> None:
        """Release connections and processes of ours; calling it again does nothing."""
        ...

    def ping(self) -> bool:
        """True when the store answers; never raises."""
        ...

    def info(self) -> dict[str, Any]:
        """At least `backend_type`, `buffer_threads`, `registry_entries`, `ttl_seconds`."""
        ...


class SlotRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One slot to be written, with the chain its thread stands for."""

    thread_id: str
    chain: str
    data: bytes


class ConversationStore(Protocol):
    """What a mailbox in this process needs of a backend, beyond `SharedBackend`.

    The pump bounds conversations at its door, so `max_threads` does not apply here.
    """

    def record(self, slots: Sequence[SlotRecord]) -> list[int]:
        """Append all slots and link their threads, or nothing at all; their indices.

        Args:
            slots: those of one thread name one chain.

        Raises:
            BufferFullError: a thread would exceed `max_slots_per_thread`.
        """
        ...

    def refresh(self, thread_ids: list[str]) -> None:
        """Start the time to live of these threads anew; unknown ones are passed over."""
        ...

    def forget(self, thread_ids: list[str]) -> None:
        """Delete slots and registry entries of these threads."""
        ...


class Backend(SharedBackend, ConversationStore, Protocol):
    """What the factory makes: both contracts, and a way for other processes to share it."""

    def lend(self) -> BackendConfig:
        """Settings with which a process of this machine reaches the same data.

        What has data of its own process only lends it to be read. Ends with `close`.
        """
        ...
