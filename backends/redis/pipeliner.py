"""Runs the mailbox's commands for an event loop: all that come up in one turn travel together."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import hiredis
import redis
import redis.asyncio

from backends.cancelling import cancel_all, cancellations, raise_if_cancelled
from backends.contact import Contact, pause_s
from backends.errors import (
    BackendClosedError,
    BackendError,
    BackendRefusingError,
    BackendUnavailableError,
    BackendUnreplicatedError,
)
from backends.redis.aside import Aside, Command
from backends.redis.connection import translated
from backends.redis.line import Line
from backends.redis.scripts import script_text

#: Commands by which anything comes in.
_OF_THE_DOOR = ("begin", "open")
#: Commands sent at once; more would keep the first ones waiting for their replies.
MAX_BATCH = 256
#: Commands of one script, and arguments beyond which it takes no further one: Redis serves nobody
#: else meanwhile.
MAX_TURN, MAX_TURN_ARGUMENTS = 32, 2000
#: Bytes sent at once, if they are more than one command's: what does not reach Redis while a reply
#: may take, or is more than it takes from a client, would be sent again and again.
MAX_BATCH_BYTES = 32 * 1024**2
#: Milliseconds that replicas may take, before what they should have is sent once more.
WAIT_MS = 1000


class Repeated(list[Any]):
    """The reply to a command that was sent more than once, and may have run each time."""


class Pipeliner:
    """One connection's worth of commands, in order.

    While Redis is away commands wait and are sent again when it is back. One whose reply
    was lost runs twice, so every command must bear that. What it refuses for now waits aside: a
    full one is emptied by what ends.

    Args:
        client: not closed here.
        head: what the script gets before the commands.
        on_waiting: told after each turn how many messages wait.
        replicas: how many must have what the commands wrote before their replies are given;
            until then they are sent again.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        contact: Contact,
        *,
        head: Sequence[Any],
        on_waiting: Callable[[int], None],
        replicas: int = 0,
    ) -> None:
        self._client: Any = client
        self._line = Line(client)
        self._contact = contact
        self._head = tuple(head)
        self._on_waiting = on_waiting
        self._replicas = replicas
        self._digest = ""
        self._queue: list[Command] = []
        self._numbers = count()
        #: Commands sent at once; fewer while they are large, or no reply comes.
        self._most = MAX_BATCH
        #: How often in a row none came.
        self._failures = 0
        #: What was refused, how often in a row, and when it is tried again.
        self._aside, self._refusals = Aside(), 0
        self._retry: asyncio.TimerHandle | None = None
        self._wakeup = asyncio.Event()
        self._server: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the script and begin to serve.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        before = cancellations()
        with translated(self._contact.where):
            await self._load()
        raise_if_cancelled(since=before)
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
        command = Command(next(self._numbers), name, arguments, reply)
        if name in self._aside:
            self._aside.put(command)
        else:
            self._queue.append(command)
            self._wakeup.set()
        return reply

    @property
    def is_next_alone(self) -> bool:
        """Whether one command is to be sent, and none is on its way."""
        return len(self._queue) == 1

    async def stop(self) -> None:
        """Serve no more; what was not sent fails."""
        server, self._server = self._server, None
        if server is not None:
            await cancel_all([server])
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        await self._line.drop()
        for command in (*self._queue, *self._aside.empty()):
            if not command.reply.done():
                _fail(command.reply, BackendClosedError("the mailbox was stopped"))
        self._queue.clear()

    async def _load(self) -> None:
        self._digest = _text(await self._client.script_load(script_text("turn")))

    async def _serve(self) -> None:
        while True:
            await self._wakeup.wait()
            self._drop_given_up()
            if not self._queue:
                self._wakeup.clear()
                self._set_aside([], [])
                continue
            turns, packed = self._next()
            batch = [command for turn in turns for command in turn]
            sent_at = time.monotonic()
            refusal = await self._send(turns, packed)
            left = [each for each in batch if not each.reply.done()]
            for each in left:
                each.is_repeated = True
            is_refused = isinstance(refusal, BackendRefusingError)
            self._set_aside(batch, left if is_refused else [])
            # Whatever else is without a reply stays at the head of the queue.
            self._queue[: len(batch)] = [] if is_refused else left
            if not self._queue:
                self._wakeup.clear()
            if refusal is None:
                self._contact.answered(since=sent_at)
            else:
                self._contact.lost(refusal, since=sent_at)
                # By now another server may be the primary.
                await self._line.drop()
            self._failures = 0 if refusal is None or is_refused else self._failures + 1
            if self._failures:
                # Its connections may break sooner than so many replies can come.
                self._most = max(1, len(batch) // 2)
                await asyncio.sleep(pause_s(self._failures))

    def _drop_given_up(self) -> None:
        """While Redis was away any number may have come to the door and gone."""
        if self._failures or any(_has_gone(each) for each in self._queue[: self._most]):
            self._queue = [each for each in self._queue if not _has_gone(each)]

    def _set_aside(self, batch: list[Command], refused: list[Command]) -> None:
        """Try what is *refused* of a batch again later; others of its like now, if it was not."""
        for command in refused:
            self._aside.put(command)
        if refused:
            self._aside.tidy()
            self._refusals += 1
        elif any(command.name in self._aside for command in batch):
            self._refusals = 0
            self._try_again()
        # Those that were taken out again may all have been given up before they were sent.
        if self._aside and self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(pause_s(max(1, self._refusals)), self._try_again)

    def _try_again(self) -> None:
        """Send some of what was refused; when that is taken, more."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._queue += self._aside.some(MAX_TURN)
        self._wakeup.set()

    def _next(self) -> tuple[list[list[Command]], bytes]:
        """What may be sent at once from the head of the queue: the scripts, and their bytes."""
        while True:
            batch = self._queue[: self._most]
            turns, packed = list(_turns(batch)), list[bytes]()
            size = 0
            for turn in turns:
                packed.append(self._packed(turn))
                size += len(packed[-1])
                if size > MAX_BATCH_BYTES and len(batch) > 1:
                    self._most = len(batch) // 2
                    break
            else:
                if size < MAX_BATCH_BYTES // 2 and not self._failures:
                    self._most = min(2 * self._most, MAX_BATCH)
                return turns, b"".join(packed)

    async def _send(
        self, turns: list[list[Command]], packed: bytes
    ) -> BackendUnavailableError | None:
        """Send *turns* and hand out the replies; what kept Redis from giving all of them."""
        try:
            with translated(self._contact.where):
                replies = await self._exchange(packed, len(turns))
                if not all(map(_is_reply_to, turns, replies)):
                    raise redis.InvalidResponse("no reply to a script")
                if any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
                    await self._load()
        except BackendUnavailableError as exc:
            return exc
        refusals = [
            self._hand_out(turn, reply)
            for turn, reply in zip(turns, replies, strict=True)
            if not isinstance(reply, redis.exceptions.NoScriptError)
        ]
        found = [refusal for refusal in refusals if refusal is not None]
        # One that answers nothing now outweighs one that only takes no writes.
        return min(found, key=lambda each: isinstance(each, BackendRefusingError), default=None)

    async def _exchange(self, packed: bytes, turns: int) -> list[Any]:
        """The reply to each of so many turns, an error included."""
        if not self._replicas:
            return await self._line.exchange(packed, turns)
        timeout_s = self._line.timeout_s
        wait_ms = WAIT_MS if timeout_s is None else min(WAIT_MS, int(timeout_s * 500))
        words: tuple[Any, ...] = ("WAIT", self._replicas, wait_ms)
        wait: bytes = hiredis.pack_command(words)
        *replies, reached = await self._line.exchange(packed + wait, turns + 1)
        if isinstance(reached, Exception):
            raise reached
        if reached < self._replicas:
            raise BackendUnreplicatedError(
                f"{self._contact.where} replicates to fewer servers than backend.redis_replicas"
                f" ({self._replicas}): nobody is told of what these have not got"
            )
        return replies

    def _packed(self, turn: list[Command]) -> bytes:
        words: list[Any] = ["EVALSHA", self._digest, 0, *self._head]
        for command in turn:
            words += (command.name, len(command.arguments), *command.arguments)
        packed: bytes = hiredis.pack_command(tuple(words))
        return packed

    def _hand_out(self, turn: list[Command], reply: Any) -> BackendUnavailableError | None:
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
                is_told = command.is_repeated and isinstance(each, list)
                awaited.set_result(Repeated(each) if is_told else each)
                continue
            try:
                with translated(self._contact.where):
                    raise each
            except BackendUnavailableError as exc:
                refusal = exc
            except BackendError as exc:
                _fail(awaited, exc)
        return refusal


def _turns(batch: list[Command]) -> Iterator[list[Command]]:
    """*batch* in order, as many commands together as one script may hold."""
    turn: list[Command] = []
    size = 0
    for command in batch:
        if turn and (len(turn) >= MAX_TURN or size > MAX_TURN_ARGUMENTS):
            yield turn
            turn, size = [], 0
        turn.append(command)
        size += len(command.arguments)
    if turn:
        yield turn


def _is_reply_to(turn: list[Command], reply: Any) -> bool:
    is_full = isinstance(reply, list) and len(reply) == len(turn) + 1
    return is_full or isinstance(reply, Exception)


def _has_gone(command: Command) -> bool:
    """Whether it is one for the door, and nobody awaits it; what is inside goes on all the same."""
    return command.reply.done() and command.name in _OF_THE_DOOR


def _fail(reply: "asyncio.Future[Any]", reason: BackendError) -> None:
    reply.set_exception(reason)
    # Nobody may wait for it any more, and then it is nobody's to hear of.
    reply.exception()


def _text(digest: bytes | str) -> str:
    return digest.decode() if isinstance(digest, bytes) else digest
