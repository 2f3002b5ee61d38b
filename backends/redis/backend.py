"""State that processes on many machines share: threads and links in one Redis."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from backends.chains import thread_in_conversation
from backends.errors import (
    BackendClosedError,
    BackendError,
    BufferFullError,
    ThreadLimitError,
)
from backends.protocol import BackendConfig, SlotRecord
from backends.redis.caller import Caller
from backends.redis.connection import connect, disconnect
from backends.redis.keys import Keys, escape, unescape
from backends.redis.scripts import OF_THREADS

#: Elements a Redis list can have.
_LONGEST_LIST = 2**32 - 1


class RedisBackend:
    """A `SharedBackend` and `ConversationStore` for any number of machines.

    Making one opens no connection. Every operation is one command or one script.

    Args:
        url: see `connection.connect`; user, password and options are part of it.
        prefix: what every key begins with; no other prefix sees or touches them.
        ttl: seconds a thread lives after its last write, 0 for ever.
        max_slots_per_thread: of one thread.
        max_threads: how many threads may have slots.
        client: use this one instead of *url*; it is never closed here.

    Raises:
        ValueError: an argument is out of range, or *client* decodes responses.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        url: str = "redis://localhost:6379",
        prefix: str = "xp:",
        ttl: float = 86400,
        max_slots_per_thread: int = 10_000,
        max_threads: int = 1_000,
        *,
        client: redis.Redis | None = None,
    ) -> None:
        self._config = BackendConfig(
            backend_type="redis",
            redis_url=url,
            redis_prefix=prefix,
            redis_ttl=ttl,
            max_slots_per_thread=max_slots_per_thread,
            max_threads=max_threads,
        )
        self._owns_client = client is None
        self._client: Any = connect(url) if client is None else client
        if self._client.get_encoder().decode_responses:
            raise ValueError("slots are bytes: the Redis client must not decode responses")
        self._keys = Keys(prefix)
        head = (prefix, math.ceil(ttl * 1000))
        self._caller = Caller(self._client, head=head, scripts=OF_THREADS)
        self._is_closed = False

    @classmethod
    def from_config(
        cls, config: BackendConfig, *, client: redis.Redis | None = None
    ) -> "RedisBackend":
        """The backend that *config* describes."""
        return cls(
            config.redis_url,
            config.redis_prefix,
            config.redis_ttl,
            config.max_slots_per_thread,
            config.max_threads,
            client=client,
        )

    def buffer_append(self, thread_id: str, slot_data: bytes) -> int:
        """Append one slot; its index."""
        return self._write(self._config.max_threads, (escape(thread_id), "", slot_data))[0]

    def buffer_get_thread(self, thread_id: str) -> list[bytes]:
        """All slots in order."""
        words = ("LRANGE", self._keys.thread(thread_id), 1, -1)
        slots: list[bytes] = self._command(*words) or self._unfolded(thread_id, *words) or []
        return slots

    def buffer_get_slot(self, thread_id: str, index: int) -> bytes | None:
        """One slot; None out of range."""
        if not 0 <= index < _LONGEST_LIST:
            self._check_open()
            return None
        words = ("LINDEX", self._keys.thread(thread_id), index + 1)
        slot: bytes | None = self._command(*words)
        return self._unfolded(thread_id, *words) if slot is None else slot

    def buffer_thread_len(self, thread_id: str) -> int:
        """How many slots the thread has."""
        words = ("LLEN", self._keys.thread(thread_id))
        return max(int(self._command(*words) or self._unfolded(thread_id, *words) or 0) - 1, 0)

    def buffer_thread_exists(self, thread_id: str) -> bool:
        """True when the thread has a slot."""
        return self.buffer_thread_len(thread_id) > 0

    def buffer_delete_thread(self, thread_id: str) -> bool:
        """Delete the thread's slots; True if there were any."""
        return bool(self._run("delete", "slots", escape(thread_id)))

    def buffer_list_threads(self) -> list[str]:
        """Ids of all threads with slots."""
        return [unescape(thread_id) for thread_id in self._run("list", "slots")]

    def buffer_clear(self) -> None:
        """Delete every slot under this prefix."""
        self._run("clear", "slots")

    def registry_set(self, chain: str, uuid: str) -> None:
        """Link *chain* and *uuid*."""
        self._run("link", escape(chain), escape(uuid), escape(thread_in_conversation(chain) or ""))

    def registry_get_uuid(self, chain: str) -> str | None:
        """The uuid linked to *chain*."""
        uuid = self._command("GET", self._keys.chain(chain))
        if uuid is not None:
            return unescape(uuid)
        derived = thread_in_conversation(chain)
        if derived is None or self.registry_get_chain(derived) != chain:
            return None
        return derived

    def registry_get_chain(self, uuid: str) -> str | None:
        """The chain linked to *uuid*."""
        words = ("LINDEX", self._keys.thread(uuid), 0)
        link = self._command(*words)
        if link is None:
            link = self._unfolded(uuid, *words)
        return unescape(link[1:]) if link else None

    def registry_delete(self, uuid: str) -> bool:
        """Unlink *uuid*; True if it was linked."""
        return bool(self._run("delete", "links", escape(uuid)))

    def registry_list_all(self) -> dict[str, str]:
        """All links, uuid to chain."""
        found = iter([unescape(text) for text in self._run("list", "links")])
        return dict(zip(found, found, strict=True))

    def registry_clear(self) -> None:
        """Delete every link under this prefix."""
        self._run("clear", "links")

    def record(self, slots: Sequence[SlotRecord]) -> list[int]:
        """Append all slots and link their threads, or nothing; their indices."""
        if not slots:
            self._check_open()
            return []
        rows = ((escape(slot.thread_id), f"={escape(slot.chain)}", slot.data) for slot in slots)
        return self._write(0, *rows)

    def refresh(self, thread_ids: list[str]) -> None:
        """Start the time to live of these threads anew."""
        self._run("refresh", *map(escape, thread_ids))

    def forget(self, thread_ids: list[str]) -> None:
        """Delete slots and links of these threads."""
        self._run("delete", "all", *map(escape, thread_ids))

    def lend(self) -> BackendConfig:
        """Settings with which another process shares our data: our own."""
        self._check_open()
        return self._config

    def close(self) -> None:
        """Close our connections; a client that was handed in stays open."""
        self._caller.close()
        if self._owns_client and not self._is_closed:
            disconnect(self._client)
        self._is_closed = True

    def ping(self) -> bool:
        """True when Redis answers."""
        try:
            return bool(self._command("PING"))
        except BackendError:
            return False

    def info(self) -> dict[str, Any]:
        """What is under this prefix, and where."""
        threads, links = self._run("count")
        return {
            "backend_type": "redis",
            "address": self._caller.where,
            "prefix": self._keys.prefix,
            "buffer_threads": threads,
            "registry_entries": links,
            "ttl_seconds": self._config.redis_ttl,
        }

    def _write(self, max_threads: int, *rows: tuple[str, str, bytes]) -> list[int]:
        config = self._config
        flat: Iterable[str | bytes] = (part for row in rows for part in row)
        reply = self._run("write", config.max_slots_per_thread, max_threads, *flat)
        if isinstance(reply[0], int):
            return list(reply)
        limit, thread_id = reply[0], unescape(reply[1])
        if limit == b"slots":
            raise BufferFullError(
                f"thread {thread_id!r} is full: max_slots_per_thread is"
                f" {config.max_slots_per_thread}"
            )
        raise ThreadLimitError(f"no room for thread {thread_id!r}: max_threads is {max_threads}")

    def _run(self, name: str, *arguments: Any) -> Any:
        self._check_open()
        return self._caller.run(name, *arguments)

    def _command(self, *words: Any) -> Any:
        self._check_open()
        return self._caller.call(*words)

    def _unfolded(self, thread_id: str, *words: Any) -> Any:
        """The reply to *words* once a thread that seems not to be there has been looked for.

        A conversation that is nothing but its first message has no keys of its own.
        """
        return self._command(*words) if self._run("unfold", escape(thread_id)) else None

    def _check_open(self) -> None:
        if self._is_closed:
            raise BackendClosedError(f"this backend of {self._caller.where} is closed")
