"""The dispatches that a process runs for one message, and how far it has come with them."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition, Lock, Thread

from backends.errors import BackendError
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch, Outcome
from tasks.pace import MAX_BATCH

log = logging.getLogger(__name__)

#: Seconds an outcome may wait for others to be handed in with: usually, and while so much waits to
#: be run that nobody could tell the difference. So much is run again when a process dies.
FLUSH_S, BACKLOG_FLUSH_S = 0.01, 0.05
#: Bytes of outcomes that are handed in at once.
MAX_DONE_BYTES = 1024**2
#: Seconds that a process may go on with what waits, before it takes the next message: what has been
#: published must not wait for long behind what has not.
STINT_S = 0.5

Member = tuple[str, Dispatch]


class Batch:
    """Members run one after the other; what is done is handed in, what must wait goes back.

    Used by the process's main thread, and by its `BatchKeeper`.

    Args:
        members: what a message brought.
        budget_s: how long members may go on to start; the rest is released. With 0 the message's
            own members are all.
        wanted: how many more could run within *budget_s*, as far as one can tell.
        keeper: looks after this batch while it has more than one member.
    """

    def __init__(  # noqa: PLR0913 - what it brings, and whom it needs
        self,
        ledger: LedgerClient,
        owner: str,
        members: list[Member],
        *,
        listener: str,
        budget_s: float,
        wanted: Callable[[], int],
        keeper: "BatchKeeper",
    ) -> None:
        self._ledger = ledger
        self._owner = owner
        self._listener = listener
        self._unstarted = deque(members)
        self._count = len(members)
        self._budget_s = budget_s
        self._wanted = wanted
        self._keeper = keeper
        now = time.monotonic()
        self._ends_at, self._stint_ends_at = now + budget_s, now + STINT_S
        self._may_go_on = budget_s > 0
        self._done: deque[tuple[str, Outcome]] = deque()
        self._done_bytes = 0
        self._lock = Lock()
        #: Seconds between two flushes.
        self.pause_s = BACKLOG_FLUSH_S if ledger.backlog else FLUSH_S
        #: Ids of members that came past the broker and have not begun.
        self._fetched: set[str] = set()
        #: Ids whose outcome came too late.
        self.late: list[str] = []
        if len(members) > 1:
            keeper.keep(self)

    @property
    def size(self) -> int:
        """How many members it has had so far."""
        return self._count

    def members(self) -> Iterator[Member]:
        """What is to be run now, one after the other; the first whatever the time."""
        while self._unstarted or self._go_on():
            try:
                yield self._unstarted.popleft()
            except IndexError:
                # Released at this very moment.
                return
            self.release_rest_if_over()

    def has_fetched(self, dispatch_id: str) -> bool:
        """Whether this member came past the broker; asked once, as it begins."""
        if dispatch_id not in self._fetched:
            return False
        self._fetched.discard(dispatch_id)
        return True

    def done(self, dispatch_id: str, outcome: Outcome) -> None:
        """A member was run."""
        self._done.append((dispatch_id, outcome))
        self._done_bytes += len(outcome.body)
        if self._done_bytes > MAX_DONE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand in what is done."""
        with self._lock:
            self._hand_in(0)

    def stay(self) -> None:
        """Take nothing more."""
        self._may_go_on = False

    def release_rest_if_over(self) -> None:
        """Where no further member may start, give back the rest for a process that is free."""
        if time.monotonic() <= self._ends_at:
            return
        with self._lock:
            rest = []
            while self._unstarted:
                rest.append(self._unstarted.popleft()[0])
            if rest:
                # It would take them right back.
                self.stay()
                self._ledger.release(self._owner, rest)

    def _go_on(self) -> bool:
        """Take more of what waits, in the step that hands in what is done; false for none."""
        now = time.monotonic()
        if not self._may_go_on or now > self._stint_ends_at or self._count >= MAX_BATCH:
            return False
        with self._lock:
            taken = self._hand_in(min(self._wanted(), MAX_BATCH - self._count))
            self._count += len(taken)
            self._ends_at = now + self._budget_s
            self.pause_s = BACKLOG_FLUSH_S
            self._unstarted += taken
            self._fetched.update(dispatch_id for dispatch_id, _ in taken)
        if len(taken) > 1:
            self._keeper.keep(self)
        return bool(taken)

    def _hand_in(self, wanted: int) -> list[Member]:
        """What is done, under the lock; what it takes in the same step, if it *wanted* more."""
        self._done_bytes = 0
        done = dict(self._done.popleft() for _ in range(len(self._done)))
        if not done and not wanted:
            return []
        accepted, taken = self._ledger.go_on(self._owner, done, self._listener, wanted)
        self.late += [each for each, is_in in zip(done, accepted, strict=True) if not is_in]
        return taken


class BatchKeeper:
    """A thread that looks after the batch whose member runs right now."""

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._changed = Condition()
        Thread(target=self._run, name="batch keeper", daemon=True).start()

    def keep(self, batch: Batch | None) -> None:
        """Look after *batch* from now on, or after none."""
        with self._changed:
            self._batch = batch
            if batch is not None:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._batch is None:
                    self._changed.wait()
                batch = self._batch
            time.sleep(batch.pause_s)
            try:
                batch.flush()
                batch.release_rest_if_over()
            except BackendError:
                # What it could not hand in runs again; the next batch needs a keeper too.
                log.exception("outcomes not handed in", extra={"action": "complete"})
