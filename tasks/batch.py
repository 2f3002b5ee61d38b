"""The dispatches that one message brought to a process, and how far it has come with them."""

import time
from collections import deque
from collections.abc import Iterator
from threading import Condition, Lock, Thread

from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch, Outcome

#: Seconds an outcome may wait for others to be handed in with.
FLUSH_S = 0.01
#: Bytes of outcomes that are handed in at once.
MAX_DONE_BYTES = 1024**2


class Batch:
    """Members run one after the other; what is done is handed in, what must wait goes back.

    Used by the process's main thread, and by its `BatchKeeper`.

    Args:
        budget_s: how long members may go on to start; the rest is released.
    """

    def __init__(
        self, ledger: LedgerClient, owner: str, members: list[tuple[str, Dispatch]], budget_s: float
    ) -> None:
        self._ledger = ledger
        self._owner = owner
        #: How many members it had.
        self.size = len(members)
        self._unstarted = deque(members)
        self._ends_at = time.monotonic() + budget_s
        self._done: deque[tuple[str, Outcome]] = deque()
        self._done_bytes = 0
        self._lock = Lock()
        #: Ids whose outcome came too late.
        self.late: list[str] = []

    def members(self) -> Iterator[tuple[str, Dispatch]]:
        """What is to be run now, one after the other; the first whatever the time."""
        while self._unstarted:
            try:
                yield self._unstarted.popleft()
            except IndexError:
                # Released at this very moment.
                return
            if self.is_over:
                self.release_rest()

    def done(self, dispatch_id: str, outcome: Outcome) -> None:
        """A member was run."""
        self._done.append((dispatch_id, outcome))
        self._done_bytes += len(outcome.body)
        if self._done_bytes > MAX_DONE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand in what is done."""
        with self._lock:
            self._done_bytes = 0
            done = dict(self._done.popleft() for _ in range(len(self._done)))
            if done:
                accepted = self._ledger.complete(self._owner, done)
                self.late += [each for each, is_in in zip(done, accepted, strict=True) if not is_in]

    @property
    def is_over(self) -> bool:
        """True when no further member may start."""
        return time.monotonic() > self._ends_at

    def release_rest(self) -> None:
        """Give back what has not started, for a process that is free."""
        with self._lock:
            rest = []
            while self._unstarted:
                rest.append(self._unstarted.popleft()[0])
            if rest:
                self._ledger.release(self._owner, rest)


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
            time.sleep(FLUSH_S)
            batch.flush()
            if batch.is_over:
                batch.release_rest()
