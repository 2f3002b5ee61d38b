"""Tells every open page what has changed: one look at Redis for all of them, once a second.

A page is sent the sections that differ from what it was sent last. Nothing is kept for one that
is slow: it misses what came between, and is cut off when it takes nothing for long.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from backends.errors import BackendError

log = logging.getLogger(__name__)

#: Seconds between two looks; a look that took long is followed by a pause ten times as long, unless
#: it failed: Redis may be back at any moment.
INTERVAL_S, PATIENCE = 1.0, 10
#: Seconds after which a page that takes nothing is cut off, and those without news before it is
#: told that we are still there.
SLOW_S, SILENCE_S = 10.0, 15.0
#: Pages that may be open at once.
MOST_PAGES = 64

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")],
}


class Live:
    """Looks while somebody does.

    Args:
        overview: blocking; what there is, by section.
    """

    def __init__(self, overview: Callable[[], Mapping[str, Any]]) -> None:
        self._overview = overview
        self._sections: dict[str, bytes] = {}
        self._news = asyncio.Condition()
        self._somebody = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_over = False
        #: Pages that are open.
        self.pages = 0
        #: Pages that were cut off because they took nothing.
        self.cut_off = 0

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._look_again_and_again(), name="live")

    def end(self) -> None:
        """Let every page go."""
        self._is_over = True
        self._ending = asyncio.create_task(self._wake())

    async def stop(self) -> None:
        """End."""
        self.end()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send one page its events until it leaves."""
        self.pages += 1
        self._somebody.set()
        telling = asyncio.create_task(self._tell(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving):
                task.cancel()
            for outcome in await asyncio.gather(telling, leaving, return_exceptions=True):
                if isinstance(outcome, TimeoutError):
                    self.cut_off += 1
            self.pages -= 1
            if not self.pages:
                self._somebody.clear()
                # Whoever comes next is not told what was.
                self._sections = {}

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _tell(self, send: Send) -> None:
        await send(_START)
        told: dict[str, bytes] = {}
        while not self._is_over:
            news = {name: body for name, body in self._sections.items() if told.get(name) != body}
            event = b"".join(
                b"event: %b\ndata: %b\n\n" % (name.encode(), body) for name, body in news.items()
            )
            async with asyncio.timeout(SLOW_S):
                await send(
                    {"type": "http.response.body", "body": event or b":\n\n", "more_body": True}
                )
            told |= news
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S):
                    await self._change_from(told)
        await send({"type": "http.response.body", "body": b""})

    async def _change_from(self, told: dict[str, bytes]) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._is_over or self._sections != told)

    async def _look_again_and_again(self) -> None:
        while True:
            await self._somebody.wait()
            began = time.monotonic()
            sections, is_there = await self._look()
            took = time.monotonic() - began if is_there else 0.0
            if self._somebody.is_set():
                # Or it would be what the next is told first, whenever that comes.
                async with self._news:
                    self._sections = self._sections | sections
                    self._news.notify_all()
            await asyncio.sleep(max(INTERVAL_S, PATIENCE * took))

    async def _look(self) -> tuple[dict[str, bytes], bool]:
        """What there is, by section; and whether Redis is there."""
        is_there = False
        try:
            found = {"redis": {"away": ""}, **await asyncio.to_thread(self._overview)}
            is_there = True
        except BackendError as exc:
            found = {"redis": {"away": str(exc)}}
        except Exception:
            # The page must not stand still without a word.
            log.exception("console could not look", extra={"action": "console"})
            found = {"redis": {"away": "the console failed; its log says why"}}
        return {name: msgspec.json.encode(value) for name, value in found.items()}, is_there


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
