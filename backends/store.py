"""Threads, links and deadlines in the memory of one process.

`InMemoryBackend` uses the store directly; the Manager's server lends it to other
processes. Limits and time to live come with every call, because each client has
its own.
"""

import math
import time
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from threading import Lock
from typing import NamedTuple

import msgspec

from backends import chains
from backends.errors import BufferFullError, ThreadLimitError
from backends.protocol import BackendConfig, SlotRecord

#: Expired threads that one write frees at most, so no write pays for a whole crowd.
_FREED_PER_WRITE = 32
#: Threads that are gone before it pays to strike them off the list of those that will end.
_MIN_GONE = 1024
#: A linked thread lives longer than asked for by this part of it, so that not every write has to
#: move its end and its callers'.
_SLACK = 1 / 64
_UNWRITTEN = -math.inf
_NEVER = math.inf


class Terms(NamedTuple):
    """What a client asks of each of its writes."""

    #: 0 is for ever.
    ttl_s: float
    max_slots: int
    max_threads: int

    @classmethod
    def of(cls, config: BackendConfig) -> "Terms":
        """The terms that *config* sets."""
        return cls(config.redis_ttl, config.max_slots_per_thread, config.max_threads)


class Counts(NamedTuple):
    """How much a store holds."""

    threads: int
    links: int


class _Thread(msgspec.Struct, eq=False, gc=False):
    """One thread: its slots, its link, and when it ends."""

    id: str
    slots: list[bytes] = []
    chain: str | None = None
    #: Never brought nearer, never after that of a caller that is linked, and none before the first
    #: write is done.
    ends: float = _UNWRITTEN


class MemoryStore:
    """Thread buffers and the registry. Every method is atomic and never blocks for long.

    No write brings the end of a thread nearer. What has ended is freed by later
    writes and listings.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._threads: dict[str, _Thread] = {}
        #: By chain.
        self._linked: dict[str, _Thread] = {}
        #: Threads that have slots.
        self._filled = 0
        #: Threads that can end, by an end they had once: they don't end before that. Those that
        #: are gone stand there until they outnumber the others.
        self._ending: dict[float, list[str]] = {}
        self._listed = 0
        #: A heap of these ends.
        self._due: list[float] = []

    def append(self, thread_id: str, data: bytes, terms: Terms) -> int:
        """Append one slot; its index.

        Raises:
            BufferFullError: the thread has `max_slots`.
            ThreadLimitError: the thread is new and `max_threads` have slots.
        """
        with self._lock:
            now = self._begin_write()
            thread = self._find(thread_id, now)
            if thread is None or not thread.slots:
                self._admit(thread_id, terms.max_threads, now)
            elif len(thread.slots) >= terms.max_slots:
                raise _full(thread_id, terms.max_slots)
            if thread is None:
                thread = self._threads[thread_id] = _Thread(thread_id)
            index = self._put(thread, data)
            self._refresh_with_callers(thread, terms.ttl_s, now, slack=0.0)
            return index

    def record(self, slots: Sequence[SlotRecord], terms: Terms) -> list[int]:
        """Append all *slots* and link their threads, or nothing; their indices.

        Raises:
            BufferFullError: a thread would exceed `max_slots`.
        """
        with self._lock:
            now = self._begin_write()
            if len(slots) == 1:
                return [self._record_one(slots[0], terms, now)]
            self._check_room(slots, terms.max_slots, now)
            return [self._record_one(slot, terms, now) for slot in slots]

    def slots(self, thread_id: str) -> list[bytes]:
        """All slots of a thread, oldest first."""
        with self._lock:
            thread = self._find(thread_id, self._clock())
            return thread.slots.copy() if thread else []

    def slot(self, thread_id: str, index: int) -> bytes | None:
        """One slot; None out of range, negative indices included."""
        with self._lock:
            thread = self._find(thread_id, self._clock())
            if thread is None or not 0 <= index < len(thread.slots):
                return None
            return thread.slots[index]

    def length(self, thread_id: str) -> int:
        """How many slots a thread has."""
        with self._lock:
            thread = self._find(thread_id, self._clock())
            return len(thread.slots) if thread else 0

    def thread_ids(self) -> list[str]:
        """The threads that have slots."""
        with self._lock:
            self._free_ended(self._clock())
            return [thread_id for thread_id, thread in self._threads.items() if thread.slots]

    def delete_slots(self, thread_id: str) -> bool:
        """Delete a thread's slots, not its link; True if there were any."""
        with self._lock:
            thread = self._find(thread_id, self._begin_write())
            if thread is None or not thread.slots:
                return False
            self._empty(thread)
            return True

    def clear_slots(self) -> None:
        """Delete every slot."""
        with self._lock:
            for thread in list(self._threads.values()):
                if thread.slots:
                    self._empty(thread)

    def link(self, chain: str, uuid: str, terms: Terms) -> None:
        """Link *chain* and *uuid*, each to nothing else."""
        with self._lock:
            now = self._begin_write()
            thread = self._link(chain, uuid, self._find(uuid, now))
            self._refresh_with_callers(thread, terms.ttl_s, now)

    def uuid_of(self, chain: str) -> str | None:
        """The uuid linked to *chain*."""
        with self._lock:
            thread = self._linked.get(chain)
            if thread is None or self._find(thread.id, self._clock()) is None:
                return None
            return thread.id

    def chain_of(self, uuid: str) -> str | None:
        """The chain linked to *uuid*."""
        with self._lock:
            thread = self._find(uuid, self._clock())
            return thread.chain if thread else None

    def links(self) -> dict[str, str]:
        """All links, uuid to chain."""
        with self._lock:
            self._free_ended(self._clock())
            return {thread.id: chain for chain, thread in self._linked.items()}

    def unlink(self, uuid: str) -> bool:
        """Unlink *uuid*; True if it was linked."""
        with self._lock:
            thread = self._find(uuid, self._begin_write())
            if thread is None or thread.chain is None:
                return False
            self._unlink(thread)
            return True

    def clear_links(self) -> None:
        """Delete every link."""
        with self._lock:
            for thread in list(self._linked.values()):
                self._unlink(thread)

    def refresh(self, thread_ids: list[str], terms: Terms) -> None:
        """Start the time to live of these threads anew."""
        with self._lock:
            now = self._begin_write()
            ends = now + terms.ttl_s if terms.ttl_s else _NEVER
            for thread_id in thread_ids:
                thread = self._find(thread_id, now)
                if thread is not None and thread.ends < ends:
                    thread.ends = ends

    def forget(self, thread_ids: list[str]) -> None:
        """Delete slots and links of these threads."""
        with self._lock:
            for thread_id in thread_ids:
                thread = self._threads.get(thread_id)
                if thread is not None:
                    self._drop(thread)

    def counts(self) -> Counts:
        """How many threads with slots there are, and how many links."""
        with self._lock:
            self._free_ended(self._clock())
            return Counts(self._filled, len(self._linked))

    # Everything below is called with the lock held.

    def _begin_write(self) -> float:
        now = self._clock()
        if self._due and self._due[0] <= now:
            self._free_ended(now, _FREED_PER_WRITE)
        return now

    def _find(self, thread_id: str, now: float) -> _Thread | None:
        thread = self._threads.get(thread_id)
        if thread is not None and thread.ends <= now:
            self._drop(thread)
            return None
        return thread

    def _record_one(self, slot: SlotRecord, terms: Terms, now: float) -> int:
        thread_id, chain = slot.thread_id, slot.chain
        thread = self._threads.get(thread_id)
        if thread is None or thread.ends <= now:
            thread = self._link(chain, thread_id, self._find(thread_id, now))
        elif len(thread.slots) >= terms.max_slots:
            raise _full(thread_id, terms.max_slots)
        elif thread.chain != chain:
            self._link(chain, thread_id, thread)
        index = self._put(thread, slot.data)
        if not thread.ends >= now + (terms.ttl_s or _NEVER):
            self._refresh_with_callers(thread, terms.ttl_s, now)
        return index

    def _put(self, thread: _Thread, data: bytes) -> int:
        slots = thread.slots
        if not slots:
            self._filled += 1
        slots.append(data)
        return len(slots) - 1

    def _admit(self, thread_id: str, max_threads: int, now: float) -> None:
        if self._filled >= max_threads:
            self._free_ended(now)
            if self._filled >= max_threads:
                raise ThreadLimitError(
                    f"no room for thread {thread_id!r}: max_threads is {max_threads}"
                )

    def _check_room(self, slots: Sequence[SlotRecord], max_slots: int, now: float) -> None:
        lengths: dict[str, int] = {}
        for slot in slots:
            thread_id = slot.thread_id
            length = lengths.get(thread_id)
            if length is None:
                thread = self._find(thread_id, now)
                length = len(thread.slots) if thread else 0
            if length >= max_slots:
                raise _full(thread_id, max_slots)
            lengths[thread_id] = length + 1

    def _link(self, chain: str, uuid: str, thread: _Thread | None) -> _Thread:
        if thread is None:
            thread = self._threads[uuid] = _Thread(uuid)
        elif thread.chain == chain:
            return thread
        elif thread.chain is not None:
            del self._linked[thread.chain]
        former = self._linked.get(chain)
        if former is not None:
            self._unlink(former)
        thread.chain = chain
        self._linked[chain] = thread
        if thread.ends != _UNWRITTEN:
            self._refresh_callers(chain, thread.ends)
        return thread

    def _unlink(self, thread: _Thread) -> None:
        if thread.chain is not None:
            del self._linked[thread.chain]
        thread.chain = None
        if not thread.slots:
            self._drop(thread)

    def _empty(self, thread: _Thread) -> None:
        thread.slots.clear()
        self._filled -= 1
        if thread.chain is None:
            self._drop(thread)

    def _drop(self, thread: _Thread) -> None:
        del self._threads[thread.id]
        if thread.slots:
            self._filled -= 1
        if thread.chain is not None:
            del self._linked[thread.chain]

    def _refresh_with_callers(
        self, thread: _Thread, ttl_s: float, now: float, *, slack: float = _SLACK
    ) -> None:
        wanted = now + ttl_s if ttl_s else _NEVER
        chain = thread.chain
        nearest = self._nearest_caller(chain) if chain is not None else None
        if nearest is not None and nearest.ends >= wanted:
            # Then so do all of its own callers.
            ends = nearest.ends
        else:
            ends = wanted + ttl_s * slack
            if chain is not None:
                self._refresh_callers(chain, ends, now)
        if thread.ends < ends:
            is_new, thread.ends = thread.ends == _UNWRITTEN, ends
            if is_new and ends < _NEVER:
                self._expect_end(thread)

    def _nearest_caller(self, chain: str) -> _Thread | None:
        """The thread of the nearest caller that is linked."""
        caller = chain.rpartition(".")[0]
        while caller:
            nearest = self._linked.get(caller)
            # A marker stands for nobody.
            if nearest is not None and not caller.rpartition(".")[2].startswith(chains.MARKS):
                return nearest
            caller = caller.rpartition(".")[0]
        return None

    def _refresh_callers(self, chain: str, ends: float, now: float = _UNWRITTEN) -> None:
        for caller in chains.callers(chain):
            thread = self._linked.get(caller)
            # One that has ended stays so, until it is freed.
            if thread is not None and now < thread.ends < ends:
                thread.ends = ends

    def _expect_end(self, thread: _Thread) -> None:
        ending = self._ending.get(thread.ends)
        if ending is None:
            ending = self._ending[thread.ends] = []
            heappush(self._due, thread.ends)
        ending.append(thread.id)
        self._listed += 1
        if self._listed > 2 * len(self._threads) + _MIN_GONE:
            self._list_anew()

    def _list_anew(self) -> None:
        self._ending, self._listed = {}, 0
        for thread in self._threads.values():
            if _UNWRITTEN < thread.ends < _NEVER:
                self._ending.setdefault(thread.ends, []).append(thread.id)
                self._listed += 1
        self._due = list(self._ending)
        heapify(self._due)

    def _free_ended(self, now: float, at_most: float = math.inf) -> None:
        looked_at = 0
        while self._due and self._due[0] <= now and looked_at < at_most:
            ending = self._ending[self._due[0]]
            if not ending:
                del self._ending[heappop(self._due)]
                continue
            thread = self._threads.get(ending.pop())
            looked_at += 1
            self._listed -= 1
            if thread is None:
                continue
            if thread.ends <= now:
                self._drop(thread)
            elif thread.ends < _NEVER:
                self._expect_end(thread)


def _full(thread_id: str, max_slots: int) -> BufferFullError:
    return BufferFullError(f"thread {thread_id!r} is full: max_slots_per_thread is {max_slots}")
