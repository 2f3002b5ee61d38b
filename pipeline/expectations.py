"""Who waits for what: answers of requests, and the end of what a pump injected."""

import asyncio

from backends.mailbox import Answer, Opened
from pipeline.errors import NoAnswerError, PumpStoppedError

_UNKNOWN = (
    "Redis knows nothing of the conversation any more, and nobody heard an answer: it was lost at a"
    " failover or restart, deleted, or ended and not kept; ask again under the same message_id"
)


class Expectations:
    """Futures by scope. Used from one event loop."""

    def __init__(self) -> None:
        #: The first, or only, of each scope: a list for each would be one object more to keep.
        self._waiters: dict[str, asyncio.Future[Answer]] = {}
        self._more: dict[str, list[asyncio.Future[Answer]]] = {}
        #: Those in flight, and how many have begun each.
        self._unfinished: dict[str, int] = {}
        self._joiners: list[asyncio.Future[None]] = []

    def expect(self, scope: str) -> asyncio.Future[Answer]:
        """Wait for the first answer of *scope*; `give_up` when done."""
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._waiters.setdefault(scope, waiter) is not waiter:
            self._more.setdefault(scope, []).append(waiter)
        return waiter

    def recall(self, opened: Opened) -> None:
        """The message was a duplicate: what is known of the first one is the answer."""
        if opened.answer is not None:
            self.answer(opened.scope, opened.answer)
        elif opened.is_closed:
            self.close(opened.scope)

    def give_up(self, scope: str, waiter: asyncio.Future[Answer]) -> None:
        """Wait no more."""
        if scope in self._waiters:
            left = [each for each in self._pop(scope) if each is not waiter]
            if left:
                self._waiters[scope] = left[0]
                self._more[scope] = left[1:]
        if waiter.done() and not waiter.cancelled():
            waiter.exception()

    def begin(self, scope: str) -> None:
        """Count *scope* as in flight until it closes, or all who began it have turned back."""
        self._unfinished[scope] = self._unfinished.get(scope, 0) + 1

    def turn_back(self, scope: str) -> None:
        """One who began it did not; those who wait for its answer go on waiting."""
        left = self._unfinished.pop(scope, 0) - 1
        if left > 0:
            self._unfinished[scope] = left
        self._release_if_finished()

    def answer(self, scope: str, answer: Answer) -> None:
        """The scope has its answer."""
        for waiter in self._pop(scope):
            if not waiter.done():
                waiter.set_result(answer)

    def close(self, scope: str, *, is_known: bool = True) -> None:
        """The scope has ended; whoever still waits gets no answer.

        Args:
            is_known: false where the store knows nothing of it any more.
        """
        reason = "the conversation ended without an answer" if is_known else _UNKNOWN
        for waiter in self._pop(scope):
            if not waiter.done():
                waiter.set_exception(NoAnswerError(reason))
        self._unfinished.pop(scope, None)
        self._release_if_finished()

    def abandon(self, reason: PumpStoppedError) -> None:
        """Nothing will come any more."""
        for scope in list(self._waiters):
            for waiter in self._pop(scope):
                if not waiter.done():
                    waiter.set_exception(reason)
        self._unfinished.clear()
        self._release()

    async def join(self) -> None:
        """Wait until nothing is in flight."""
        while self._unfinished:
            joiner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._joiners.append(joiner)
            await joiner

    def _pop(self, scope: str) -> list[asyncio.Future[Answer]]:
        """Whoever waits for *scope*, the first first; they are forgotten."""
        first = self._waiters.pop(scope, None)
        return [] if first is None else [first, *self._more.pop(scope, ())]

    def _release_if_finished(self) -> None:
        if not self._unfinished:
            self._release()

    def _release(self) -> None:
        joiners, self._joiners = self._joiners, []
        for joiner in joiners:
            if not joiner.done():
                joiner.set_result(None)
