"""The backend of a single process, and the reference for the others."""

import secrets
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from backends.errors import BackendClosedError
from backends.manager.server import StoreServer
from backends.protocol import BackendConfig, SlotRecord
from backends.store import MemoryStore, Terms


class InMemoryBackend:
    """A `SharedBackend` and `ConversationStore` whose data ends with the process.

    Args:
        config: limits and time to live; the rest of it is not read.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        config: BackendConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terms = Terms.of(config or BackendConfig())
        self._open_store: MemoryStore | None = MemoryStore(clock=clock)
        self._lending = Lock()
        self._loan: tuple[StoreServer, BackendConfig] | None = None

    @property
    def store(self) -> MemoryStore:
        """Where the data is; a `StoreServer` can lend it to other processes.

        Raises:
            BackendClosedError: after `close`.
        """
        if self._open_store is None:
            raise BackendClosedError("this in-memory backend is closed")
        return self._open_store

    def buffer_append(self, thread_id: str, slot_data: bytes) -> int:
        """Append one slot; its index."""
        return self.store.append(thread_id, slot_data, self._terms)

    def buffer_get_thread(self, thread_id: str) -> list[bytes]:
        """All slots in order."""
        return self.store.slots(thread_id)

    def buffer_get_slot(self, thread_id: str, index: int) -> bytes | None:
        """One slot; None out of range."""
        return self.store.slot(thread_id, index)

    def buffer_thread_len(self, thread_id: str) -> int:
        """How many slots the thread has."""
        return self.store.length(thread_id)

    def buffer_thread_exists(self, thread_id: str) -> bool:
        """True when the thread has a slot."""
        return self.store.length(thread_id) > 0

    def buffer_delete_thread(self, thread_id: str) -> bool:
        """Delete the thread's slots; True if there were any."""
        return self.store.delete_slots(thread_id)

    def buffer_list_threads(self) -> list[str]:
        """Ids of all threads with slots."""
        return self.store.thread_ids()

    def buffer_clear(self) -> None:
        """Delete every slot."""
        self.store.clear_slots()

    def registry_set(self, chain: str, uuid: str) -> None:
        """Link *chain* and *uuid*."""
        self.store.link(chain, uuid, self._terms)

    def registry_get_uuid(self, chain: str) -> str | None:
        """The uuid linked to *chain*."""
        return self.store.uuid_of(chain)

    def registry_get_chain(self, uuid: str) -> str | None:
        """The chain linked to *uuid*."""
        return self.store.chain_of(uuid)

    def registry_delete(self, uuid: str) -> bool:
        """Unlink *uuid*; True if it was linked."""
        return self.store.unlink(uuid)

    def registry_list_all(self) -> dict[str, str]:
        """All links, uuid to chain."""
        return self.store.links()

    def registry_clear(self) -> None:
        """Delete every link."""
        self.store.clear_links()

    def record(self, slots: Sequence[SlotRecord]) -> list[int]:
        """Append all slots and link their threads, or nothing; their indices."""
        return self.store.record(slots, self._terms)

    def refresh(self, thread_ids: list[str]) -> None:
        """Start the time to live of these threads anew."""
        self.store.refresh(thread_ids, self._terms)

    def forget(self, thread_ids: list[str]) -> None:
        """Delete slots and links of these threads."""
        self.store.forget(thread_ids)

    def lend(self) -> BackendConfig:
        """Settings with which a process of this machine reads what is here."""
        with self._lending:
            if self._loan is None:
                authkey = secrets.token_bytes(32)
                server = StoreServer(self.store, authkey=authkey, read_only=True)
                server.start()
                config = BackendConfig(
                    "manager", manager_address=server.address, manager_authkey=authkey
                )
                self._loan = server, config
            return self._loan[1]

    def close(self) -> None:
        """Let the data go."""
        with self._lending:
            self._open_store = None
            loan, self._loan = self._loan, None
        if loan is not None:
            loan[0].stop()

    def ping(self) -> bool:
        """True until closed."""
        return self._open_store is not None

    def info(self) -> dict[str, Any]:
        """What the backend holds."""
        threads, links = self.store.counts()
        return {
            "backend_type": "memory",
            "buffer_threads": threads,
            "registry_entries": links,
            "ttl_seconds": self._terms.ttl_s,
        }
