"""Runs the mailbox's commands for an event loop: all that come up in one turn travel together."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hiredis
import msgspec
import redis
import redis.asyncio

from backends.contact import Contact, pause_s
from backends.errors import BackendClosedError, BackendError, BackendUnavailableError
from backends.redis.connection import translated
from backends.redis.line import Line
from backends.redis.scripts import script_text

#: Commands sent at once; more would keep the first ones waiting for their replies.
MAX_BATCH = 256
#: Commands of one script, and arguments beyond which it takes no further one: Redis serves nobody
#: else meanwhile.
MAX_TURN, MAX_TURN_ARGUMENTS = 32, 2000


class _Command(msgspec.Struct, gc=False, eq=False):
    """One that waits for its reply: thousands may, so the garbage collector is kept from them."""

    name: str
    #: A tuple of texts, bytes and numbers.
    arguments: Sequence[Any]
    reply: "asyncio.Future[Any]"


class Pipeliner:
    """One connection's worth of commands, in order.

    While Redis is away commands wait and are sent again when it is back. One whose reply
    was lost runs twice, so every command must bear that.

    Args:
        client: not closed here.
        head: what the script gets before the commands.
        on_waiting: told after each turn how many messages wait.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        contact: Contact,
        *,
        head: Sequence[Any],
        on_waiting: Callable[[int], None],
    ) -> None:
        self._client: Any = client
        self._line = Line(client)
        self._contact = contact
        self._head = tuple(head)
        self._on_waiting = on_waiting
        self._digest = ""
        self._queue: list[_Command] = []
        self._wakeup = asyncio.Event()
        self._server: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the script and begin to serve.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        with translated(self._contact.where):
            await self._load()
        self._server = asyncio.create_task(self._serve(), name="pipeliner")

    def run(self, name: str, *arguments: Any) -> "asyncio.Future[Any]":
        """Run one command; its reply, to be awaited.

        Raises:
            BackendError: Redis refused the command itself.
            BackendClosedError: the pipeliner was stopped before the command was sent.
        """
        if self._server is None:
            raise BackendClosedError("the mailbox is not running")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Command(name, arguments, reply))
        self._wakeup.set()
        return reply

    async def stop(self) -> None:
        """Serve no more; what was not sent fails."""
        server, self._server = self._server, None
        if server is not None:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)
        await self._line.drop()
        for command in self._queue:
            if not command.reply.done():
                _fail(command.reply, BackendClosedError("the mailbox was stopped"))
        self._queue.clear()

    async def _load(self) -> None:
        self._digest = _text(await self._client.script_load(script_text("turn")))

    async def _serve(self) -> None:
        failures = 0
        while True:
            await self._wakeup.wait()
            batch = self._queue[:MAX_BATCH]
            sent_at = time.monotonic()
            refusal = await self._send(batch)
            # Whatever is still without a reply stays at the head of the queue.
            self._queue[: len(batch)] = [each for each in batch if not each.reply.done()]
            if not self._queue:
                self._wakeup.clear()
            if refusal is None:
                failures = 0
                self._contact.answered(since=sent_at)
            else:
                failures += 1
                self._contact.lost(refusal, since=sent_at)
                await asyncio.sleep(pause_s(failures))

    async def _send(self, batch: list[_Command]) -> BackendUnavailableError | None:
        """Send *batch* and hand out the replies; what kept Redis from giving all of them."""
        turns = list(_turns(batch))
        try:
            with translated(self._contact.where):
                replies = await self._exchange(turns)
                if any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
                    await self._load()
        except BackendUnavailableError as exc:
            return exc
        refusals = [
            self._hand_out(turn, reply)
            for turn, reply in zip(turns, replies, strict=True)
            if not isinstance(reply, redis.exceptions.NoScriptError)
        ]
        return next((refusal for refusal in refusals if refusal is not None), None)

    async def _exchange(self, turns: list[list[_Command]]) -> list[Any]:
        """The reply to each turn, an error included."""
        return await self._line.exchange(b"".join(map(self._packed, turns)), len(turns))

    def _packed(self, turn: list[_Command]) -> bytes:
        words: list[Any] = ["EVALSHA", self._digest, 0, *self._head]
        for command in turn:
            words += (command.name, len(command.arguments), *command.arguments)
        packed: bytes = hiredis.pack_command(tuple(words))
        return packed

    def _hand_out(self, turn: list[_Command], reply: Any) -> BackendUnavailableError | None:
        """Give each command of *turn* its reply; what kept Redis from running some of them."""
        replies: list[Any] = [reply] * len(turn)
        if not isinstance(reply, Exception):
            waiting, *replies = reply
            self._on_waiting(waiting)
        refusal = None
        for command, each in zip(turn, replies, strict=True):
            awaited = command.reply
            if awaited.done():
                continue
            if not isinstance(each, Exception):
                awaited.set_result(each)
                continue
            try:
                with translated(self._contact.where):
                    raise each
            except BackendUnavailableError as exc:
                refusal = exc
            except BackendError as exc:
                _fail(awaited, exc)
        return refusal


def _turns(batch: list[_Command]) -> Iterator[list[_Command]]:
    """*batch* in order, as many commands together as one script may hold."""
    turn: list[_Command] = []
    size = 0
    for command in batch:
        if turn and (len(turn) >= MAX_TURN or size > MAX_TURN_ARGUMENTS):
            yield turn
            turn, size = [], 0
        turn.append(command)
        size += len(command.arguments)
    if turn:
        yield turn


def _fail(reply: "asyncio.Future[Any]", reason: BackendError) -> None:
    reply.set_exception(reason)
    # Nobody may wait for it any more, and then it is nobody's to hear of.
    reply.exception()


def _text(digest: bytes | str) -> str:
    return digest.decode() if isinstance(digest, bytes) else digest
