"""Commands that Redis refuses for now, kept from standing before what it takes."""

import asyncio
import heapq
from collections.abc import Sequence
from typing import Any

import msgspec


class Command(msgspec.Struct, gc=False, order=True):
    """One command of a turn, and who awaits its reply.

    Thousands may wait, so the garbage collector is kept from them.
    """

    #: In the order in which they came up.
    number: int
    name: str
    #: A tuple of texts, bytes and numbers.
    arguments: Sequence[Any]
    reply: "asyncio.Future[Any]"
    #: It was sent before, and may have run then.
    is_repeated: bool = False


class Aside:
    """What was refused, by name: what is refused to one command is refused to its like."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Command]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._waiting

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, command: Command) -> None:
        """It is to be tried again, in its order."""
        heapq.heappush(self._waiting.setdefault(command.name, []), command)

    def tidy(self) -> None:
        """Let go of those that nobody awaits any more."""
        for name, waiting in tuple(self._waiting.items()):
            left = [command for command in waiting if not command.reply.done()]
            heapq.heapify(left)
            self._waiting[name] = left
            if not left:
                del self._waiting[name]

    def some(self, limit: int) -> list[Command]:
        """Take the oldest, at most so many of each name; those nobody awaits any more are gone."""
        found: list[Command] = []
        for name, waiting in tuple(self._waiting.items()):
            most = len(found) + limit
            while waiting and len(found) < most:
                command = heapq.heappop(waiting)
                if not command.reply.done():
                    found.append(command)
            if not waiting:
                del self._waiting[name]
        return found

    def empty(self) -> list[Command]:
        """Take all."""
        return self.some(max(map(len, self._waiting.values()), default=0))
