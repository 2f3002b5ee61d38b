"""The pump's door: where messages from outside wait while it is full."""

import asyncio
from collections import deque
from collections.abc import Callable


class Door:
    """Lets in as many as there is room for, first come first served.

    Args:
        has_room: whether one more fits besides those already *entering*.
    """

    def __init__(self, has_room: Callable[[int], bool]) -> None:
        self._has_room = has_room
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._entering = 0

    def try_enter(self) -> bool:
        """Enter if there is room and nobody waits."""
        if self._waiters or not self._has_room(self._entering):
            return False
        self._entering += 1
        return True

    async def enter(self) -> None:
        """Wait for room, then enter. Call `entered` when inside, or on giving up."""
        if self.try_enter():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.entered()
            raise

    def entered(self) -> None:
        """One that was entering now counts elsewhere, or turned back."""
        self._entering -= 1
        self.wake()

    def wake(self) -> None:
        """Let waiters in; call when room has been made."""
        while self._waiters:
            if self._waiters[0].done():
                self._waiters.popleft()
            elif self._has_room(self._entering):
                self._entering += 1
                self._waiters.popleft().set_result(None)
            else:
                return

    def close(self, reason: Exception) -> None:
        """Turn away everyone who waits."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(reason)
