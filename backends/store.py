"""Threads, links and deadlines in the memory of one process.

`InMemoryBackend` uses the store directly; the Manager's server lends it to other
processes. Limits and time to live come with every call, because each client has
its own.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import msgspec

from backends import chains
from backends.errors import BufferFullError, ThreadLimitError
from backends.protocol import BackendConfig, SlotRecord

#: Expired threads that one write frees at most, so no write pays for a whole crowd.
_FREED_PER_WRITE = 32


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


class _Thread(msgspec.Struct, eq=False):
    """One thread: its slots, its link, and when it ends.

    A thread that can end stands in a queue of its peers with the same time to live;
    as each write moves it to the back, a queue is always in the order of its ends.
    """

    id: str
    slots: list[bytes] = []
    chain: str | None = None
    callers: list[str] = []
    #: Not a number until the first write is done: neither ended nor living longer.
    ends: float = math.nan
    queue: "_Queue | None" = None


_Queue = OrderedDict[str, _Thread]


def _prolong(thread: _Thread, ends: float, queue: _Queue | None) -> None:
    """Let *thread* end at *ends* and wait in *queue*, unless it lives longer already."""
    if ends <= thread.ends:
        return
    thread.ends = ends
    if thread.queue is queue:
        if queue is not None:
            queue.move_to_end(thread.id)
        return
    if thread.queue is not None:
        del thread.queue[thread.id]
    if queue is not None:
        queue[thread.id] = thread
    thread.queue = queue


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
        self._queues: dict[float, _Queue] = {}
        #: Nothing ends before this moment.
        self._first_end = math.inf

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
            thread = thread or self._create(thread_id)
            index = self._put(thread, data)
            self._refresh_with_callers(thread, terms.ttl_s, now)
            return index

    def record(self, slots: list[SlotRecord], terms: Terms) -> list[int]:
        """Append all *slots* and link their threads, or nothing; their indices.

        Raises:
            BufferFullError: a thread would exceed `max_slots`.
        """
        with self._lock:
            now = self._begin_write()
            if len(slots) == 1:
                return [self._record_one(slots[0], terms, now)]
            self._check_room(slots, terms.max_slots, now)
            indices = []
            written = []
            for thread_id, chain, data in slots:
                thread = self._link(chain, thread_id, self._find(thread_id, now))
                written.append(thread)
                indices.append(self._put(thread, data))
            for thread in written:
                self._refresh_with_callers(thread, terms.ttl_s, now)
            return indices

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
            ends, queue = self._end_after(terms.ttl_s, now)
            for thread_id in thread_ids:
                thread = self._find(thread_id, now)
                if thread is not None:
                    _prolong(thread, ends, queue)

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
        if self._first_end <= now:
            self._free_ended(now, _FREED_PER_WRITE)
        return now

    def _find(self, thread_id: str, now: float) -> _Thread | None:
        thread = self._threads.get(thread_id)
        if thread is not None and thread.ends <= now:
            self._drop(thread)
            return None
        return thread

    def _create(self, thread_id: str) -> _Thread:
        thread = self._threads[thread_id] = _Thread(thread_id)
        return thread

    def _record_one(self, slot: SlotRecord, terms: Terms, now: float) -> int:
        """What `record` does, for the one slot that most hops write."""
        thread_id, chain, data = slot
        thread = self._find(thread_id, now)
        if thread is not None and len(thread.slots) >= terms.max_slots:
            raise _full(thread_id, terms.max_slots)
        if thread is None or thread.chain != chain:
            thread = self._link(chain, thread_id, thread)
        index = self._put(thread, data)
        self._refresh_with_callers(thread, terms.ttl_s, now)
        return index

    def _put(self, thread: _Thread, data: bytes) -> int:
        index = len(thread.slots)
        thread.slots.append(data)
        if not index:
            self._filled += 1
        return index

    def _admit(self, thread_id: str, max_threads: int, now: float) -> None:
        if self._filled >= max_threads:
            self._free_ended(now)
            if self._filled >= max_threads:
                raise ThreadLimitError(
                    f"no room for thread {thread_id!r}: max_threads is {max_threads}"
                )

    def _check_room(self, slots: list[SlotRecord], max_slots: int, now: float) -> None:
        lengths: dict[str, int] = {}
        for thread_id, _, _ in slots:
            length = lengths.get(thread_id)
            if length is None:
                thread = self._find(thread_id, now)
                length = len(thread.slots) if thread else 0
            if length >= max_slots:
                raise _full(thread_id, max_slots)
            lengths[thread_id] = length + 1

    def _link(self, chain: str, uuid: str, thread: _Thread | None) -> _Thread:
        thread = thread or self._create(uuid)
        if thread.chain != chain:
            former = self._linked.get(chain)
            if former is not None:
                self._unlink(former)
            if thread.chain is not None:
                del self._linked[thread.chain]
            thread.chain = chain
            thread.callers = self._callers(chain)
            self._linked[chain] = thread
        return thread

    def _callers(self, chain: str) -> list[str]:
        """As `chains.callers`, from what is known of the nearest one."""
        before, _, _ = chain.rpartition(".")
        nearest = self._linked.get(before)
        if nearest is None or not before or chains.is_marker(before.rpartition(".")[2]):
            return chains.callers(chain)
        return [before, *nearest.callers]

    def _unlink(self, thread: _Thread) -> None:
        if thread.chain is not None:
            del self._linked[thread.chain]
        thread.chain, thread.callers = None, []
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
        if thread.queue is not None:
            del thread.queue[thread.id]

    def _refresh_with_callers(self, thread: _Thread, ttl_s: float, now: float) -> None:
        ends, queue = self._end_after(ttl_s, now)
        _prolong(thread, ends, queue)
        for chain in thread.callers:
            caller = self._linked.get(chain)
            # One that has ended stays so, until it is freed.
            if caller is not None and caller.ends > now:
                _prolong(caller, ends, queue)

    def _end_after(self, ttl_s: float, now: float) -> tuple[float, _Queue | None]:
        """When a thread written now ends, and the queue it waits in; None for ever."""
        if not ttl_s:
            return math.inf, None
        ends = now + ttl_s
        queue = self._queues.get(ttl_s)
        if queue is None:
            queue = self._queues[ttl_s] = OrderedDict()
            # Whoever joins the queue later ends later.
            self._first_end = min(self._first_end, ends)
        return ends, queue

    def _free_ended(self, now: float, at_most: float = math.inf) -> None:
        freed = 0
        self._first_end = math.inf
        for ttl_s, queue in list(self._queues.items()):
            while queue:
                thread = next(iter(queue.values()))
                if thread.ends > now or freed >= at_most:
                    self._first_end = min(self._first_end, thread.ends)
                    break
                self._drop(thread)
                freed += 1
            else:
                del self._queues[ttl_s]


def _full(thread_id: str, max_slots: int) -> BufferFullError:
    return BufferFullError(f"thread {thread_id!r} is full: max_slots_per_thread is {max_slots}")
