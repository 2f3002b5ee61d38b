"""Slots: the entries of a thread's context buffer, as handlers read them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMetadata:
    """Where a slot stands and how its message came.

    `timestamp` is ISO 8601 in UTC; `payload_type` is the payload class's bare name.
    """

    thread_id: str
    from_id: str
    to_id: str
    slot_index: int
    timestamp: str
    payload_type: str
    own_name: str | None = None
    is_self_call: bool = False
    usage_instructions: str = ""


@dataclass(frozen=True, slots=True)
class BufferSlot:
    """One message of a thread; `index` is its position in the thread."""

    payload: Any
    metadata: SlotMetadata

    @property
    def thread_id(self) -> str:
        """The thread this slot belongs to."""
        return self.metadata.thread_id

    @property
    def from_id(self) -> str:
        """Who sent the message."""
        return self.metadata.from_id

    @property
    def to_id(self) -> str:
        """Who received it."""
        return self.metadata.to_id

    @property
    def index(self) -> int:
        """0-based position in the thread."""
        return self.metadata.slot_index
