"""The context buffer: what every thread remembers, as slots that nobody can change."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import msgspec

import pipeline.wire  # noqa: F401 - slots hold the pump's own payloads too
from backends import BackendConfig, InMemoryBackend, SharedBackend
from backends.codec import Codec, default_codec
from backends.errors import BufferFullError, ThreadLimitError
from backends.slots import BufferSlot, SlotMetadata
from pipeline.ambient import Ambient


class ThreadContext(Sequence[BufferSlot]):
    """One thread as it was when it was read: its slots, oldest first.

    A slot's payload is decoded when the slot is first looked at.
    """

    def __init__(self, thread_id: str, records: Sequence[bytes], codec: Codec) -> None:
        self.thread_id = thread_id
        self._codec = codec
        self._records = records
        self._opened: dict[int, tuple[SlotMetadata, msgspec.Raw]] = {}
        self._slots: dict[int, BufferSlot] = {}

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> BufferSlot: ...
    @overload
    def __getitem__(self, index: slice) -> list[BufferSlot]: ...
    def __getitem__(self, index: int | slice) -> BufferSlot | list[BufferSlot]:
        positions = range(len(self._records))[index]
        if isinstance(positions, range):
            return [self._slot(position) for position in positions]
        return self._slot(positions)

    def __iter__(self) -> Iterator[BufferSlot]:
        return (self._slot(position) for position in range(len(self._records)))

    def get_slice(self, start: int = 0, end: int | None = None) -> list[BufferSlot]:
        """The slots from *start* up to, not including, *end*."""
        return self[start:end]

    def get_by_type(self, payload_type: str) -> list[BufferSlot]:
        """The slots whose payload class has this bare name."""
        return [
            self._slot(position)
            for position in range(len(self))
            if self._metadata(position).payload_type == payload_type
        ]

    def get_from(self, from_id: str) -> list[BufferSlot]:
        """The slots sent by *from_id*."""
        return [
            self._slot(position)
            for position in range(len(self))
            if self._metadata(position).from_id == from_id
        ]

    def _open(self, position: int) -> tuple[SlotMetadata, msgspec.Raw]:
        opened = self._opened.get(position)
        if opened is None:
            metadata, typed = self._codec.open_slot(self._records[position], self.thread_id)
            opened = replace(metadata, slot_index=position), typed
            self._opened[position] = opened
        return opened

    def _metadata(self, position: int) -> SlotMetadata:
        return self._open(position)[0]

    def _slot(self, position: int) -> BufferSlot:
        slot = self._slots.get(position)
        if slot is None:
            metadata, typed = self._open(position)
            slot = self._slots[position] = BufferSlot(self._codec.decode(typed), metadata)
        return slot


class ContextBuffer:
    """Every thread's slots, in a shared backend or, without one, in this process.

    Args:
        backend: not closed here.
        codec: how slots are sealed; the process's unsigned one by default.
    """

    def __init__(self, backend: SharedBackend | None = None, codec: Codec | None = None) -> None:
        self.is_shared = backend is not None
        self._config = BackendConfig(redis_ttl=0)
        self._backend = backend if backend is not None else InMemoryBackend(self._config)
        self._codec = codec or default_codec()

    def append(  # noqa: PLR0913, PLR0917 - one argument for each thing a slot tells
        self,
        thread_id: str,
        payload: Any,
        from_id: str,
        to_id: str,
        own_name: str | None = None,
        is_self_call: bool = False,  # noqa: FBT001, FBT002 - callers may pass it by position
        usage_instructions: str = "",
    ) -> BufferSlot:
        """Add a slot at the end of its thread.

        Raises:
            BufferFullError, ThreadLimitError: a limit is reached; nothing was stored.
            CodecError: *payload* is no dataclass, or can't be encoded.
        """
        record = self._codec.seal_slot(
            self._codec.encode(payload),
            thread_id,
            from_id,
            to_id,
            own_name=own_name,
            is_self_call=is_self_call,
            usage_instructions=usage_instructions,
        )
        index = self._backend.buffer_append(thread_id, record)
        metadata, _ = self._codec.open_slot(record)
        return BufferSlot(payload, replace(metadata, slot_index=index))

    def get_thread(self, thread_id: str) -> ThreadContext:
        """The thread as it is now; empty when unknown."""
        return ThreadContext(thread_id, self._backend.buffer_get_thread(thread_id), self._codec)

    def get_thread_slots(self, thread_id: str) -> list[BufferSlot]:
        """All slots of the thread, decoded."""
        return list(self.get_thread(thread_id))

    def thread_exists(self, thread_id: str) -> bool:
        """True when the thread has a slot."""
        return self._backend.buffer_thread_exists(thread_id)

    def delete_thread(self, thread_id: str) -> bool:
        """Delete the thread's slots; True if there were any."""
        return self._backend.buffer_delete_thread(thread_id)

    def clear(self) -> None:
        """Delete every slot of every thread."""
        self._backend.buffer_clear()

    def get_stats(self) -> dict[str, Any]:
        """`thread_count`, `total_slots`, `threads` (their ids) and `is_shared`."""
        threads = self._backend.buffer_list_threads()
        return {
            "thread_count": len(threads),
            "total_slots": sum(map(self._backend.buffer_thread_len, threads)),
            "threads": threads,
            "is_shared": self.is_shared,
        }


_ambient: Ambient[ContextBuffer] = Ambient("context_buffer", ContextBuffer)


def get_context_buffer() -> ContextBuffer:
    """The context buffer at hand.

    In a handler it is its pump's; elsewhere the one of the pump last started in this
    process, or an unshared one.
    """
    return _ambient.get()


def use_context_buffer(buffer: ContextBuffer | None) -> None:
    """Make *buffer* this process's, and that of every task started from here."""
    _ambient.use(buffer)


def leave_context_buffer(buffer: ContextBuffer) -> None:
    """*buffer* is of no more use: this process's is the newest of the others."""
    _ambient.leave(buffer)


__all__ = [
    "BufferFullError",
    "ContextBuffer",
    "ThreadContext",
    "ThreadLimitError",
    "get_context_buffer",
    "use_context_buffer",
]
