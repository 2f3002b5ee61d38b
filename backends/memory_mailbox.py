"""The mailbox of a single process: messages and counts in memory, slots in a backend."""

import asyncio
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from backends.errors import BackendError
from backends.mailbox import Effects, Envelope, Opened, Opening, Settlement, Work
from backends.protocol import ConversationStore
from backends.scopes import ScopeTable

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Open conversations are refreshed this many times within one time to live.
_REFRESHES_PER_TTL = 3


class MemoryMailbox:
    """A `Mailbox` whose messages die with the process.

    Args:
        store: where slots are written; not closed here.
        ttl_s: the store's time to live, 0 for never; open conversations outlive it.
        keep_closed: how many ended conversations are kept in the store.
        offload: the store blocks, so write to it from a thread.
    """

    #: Untaken work and held work are the same memory: one pump may hold it all.
    window = 2**31
    is_durable = False

    def __init__(
        self, store: ConversationStore, *, ttl_s: float, keep_closed: int, offload: bool
    ) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._keep_closed = keep_closed
        #: One thread, so that writes reach the store in the order they were made.
        self._writer = ThreadPoolExecutor(1, "mailbox") if offload else None
        self._deduplicating = asyncio.Lock()
        self._scopes = ScopeTable()
        self._queue: deque[Work] = deque()
        #: Closed conversations and when each closed, oldest first.
        self._closed: OrderedDict[str, float] = OrderedDict()
        self._timers: set[asyncio.TimerHandle] = set()
        self._wakeup: asyncio.Future[None] | None = None
        self._refresher: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Messages in the queue, and those whose retry is due later."""
        return len(self._queue) + len(self._timers)

    @property
    def open_conversations(self) -> int:
        """Conversations with work waiting or running."""
        return self._scopes.open_count

    async def start(self) -> None:
        """Keep open conversations from expiring."""
        if self._ttl_s:
            self._refresher = asyncio.create_task(self._refresh(), name="mailbox refresh")

    def open(self, opening: Opening) -> Coroutine[Any, Any, Opened]:
        """Accept messages from outside."""
        return self._enter(opening) if opening.message_id is None else self._enter_once(opening)

    async def _enter_once(self, opening: Opening) -> Opened:
        async with self._deduplicating:
            duplicate = self._scopes.find_duplicate(opening.message_id)
            return duplicate or await self._enter(opening)

    async def _enter(self, opening: Opening) -> Opened:
        conversation_id = opening.envelopes[0].conversation
        closed_at = self._closed.pop(conversation_id, None)
        try:
            if self._writer is None:
                self._store.record(opening.slots)
            else:
                await self._call(self._store.record, opening.slots)
        except BaseException:
            if closed_at is not None:
                self._closed[conversation_id] = closed_at
            raise
        opened = self._scopes.open(opening)
        self._put(opening.envelopes)
        return opened

    async def take(self, limit: int) -> list[Work]:
        """Wait until something can be taken."""
        while not self._queue:
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup
        return self.take_ready(limit)

    def take_ready(self, limit: int) -> list[Work]:
        """What can be taken now."""
        queue = self._queue
        if not queue:
            return []
        return [queue.popleft() for _ in range(min(limit, len(queue)))]

    async def settle(self, settlement: Settlement) -> Effects:
        """Apply everything a hop did."""
        if settlement.slots and self._writer is None:
            self._store.record(settlement.slots)
        elif settlement.slots:
            await self._call(self._store.record, settlement.slots)
        ready, effects = self._scopes.apply(settlement)
        if ready:
            self._put(ready)
        if effects.closed_conversations:
            gone = self._retire(effects.closed_conversations)
            if gone and self._writer is None:
                self._store.forget(gone)
            elif gone:
                await self._forget(gone)
        return effects

    async def _forget(self, threads: list[str]) -> None:
        """Delete what nobody keeps; where that fails, the time to live collects it."""
        try:
            await self._call(self._store.forget, threads)
        except BackendError as exc:
            log.warning("threads not deleted", extra={"action": "forget", "reason": str(exc)})

    async def defer(self, envelope: Envelope, delay_s: float) -> None:
        """Queue *envelope* again after *delay_s* seconds."""
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle

        def put_back() -> None:
            self._timers.discard(handle)
            self._put([envelope])

        handle = loop.call_later(delay_s, put_back)
        self._timers.add(handle)

    async def stop(self) -> int:
        """Stop the timers; how many waiting messages are lost."""
        lost = self.waiting
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        self._queue.clear()
        if self._refresher is not None:
            self._refresher.cancel()
            await asyncio.gather(self._refresher, return_exceptions=True)
        if self._writer is not None:
            self._writer.shutdown()
        return lost

    def _put(self, work: Sequence[Work]) -> None:
        self._queue.extend(work)
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _call(self, action: Callable[[T], object], argument: T) -> None:
        if self._writer is None:
            action(argument)
        else:
            await asyncio.get_running_loop().run_in_executor(self._writer, action, argument)

    def _retire(self, conversations: list[str]) -> list[str]:
        """Note what has closed; the threads of what is beyond the number or the age kept."""
        now = time.monotonic()
        closed = self._closed
        for conversation_id in conversations:
            closed[conversation_id] = now
        # The store no longer has what closed before this moment.
        oldest_kept = now - self._ttl_s if self._ttl_s else -math.inf
        gone: list[str] = []
        while closed and (
            len(closed) > self._keep_closed or next(iter(closed.values())) < oldest_kept
        ):
            conversation_id, _ = closed.popitem(last=False)
            gone += self._scopes.forget(conversation_id)
        return gone

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / _REFRESHES_PER_TTL)
            threads = self._scopes.open_threads()
            try:
                await self._call(self._store.refresh, threads)
            except BackendError as exc:
                log.warning("threads not refreshed", extra={"action": "refresh", "reason": exc})
