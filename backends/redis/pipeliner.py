"""Runs scripts for an event loop: all that come up in one turn travel together."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import hiredis
import redis
import redis.asyncio

from backends.contact import Contact, pause_s
from backends.errors import BackendClosedError, BackendError, BackendUnavailableError
from backends.redis.connection import translated
from backends.redis.scripts import script_text

#: Scripts in one pipeline; more would keep the first ones waiting for their replies.
MAX_BATCH = 256


class _Command(NamedTuple):
    script: str
    arguments: Sequence[Any]
    reply: "asyncio.Future[Any]"


class Pipeliner:
    """One connection's worth of scripts, in order.

    While Redis is away commands wait and are sent again when it is back. One whose reply
    was lost runs twice, so every script sent here must bear that.

    Args:
        client: not closed here.
        head: what every script gets before its own arguments.
        names: the scripts.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        contact: Contact,
        *,
        head: Sequence[Any],
        names: Sequence[str],
    ) -> None:
        self._client: Any = client
        self._contact = contact
        self._head = tuple(head)
        self._names = tuple(names)
        self._digests: dict[str, str] = {}
        self._queue: list[_Command] = []
        self._wakeup = asyncio.Event()
        self._server: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the scripts and begin to serve.

        Raises:
            BackendUnavailableError: Redis does not answer.
        """
        with translated(self._contact.where):
            await self._load()
        self._server = asyncio.create_task(self._serve(), name="pipeliner")

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run one script; its reply.

        Raises:
            BackendError: Redis refused the command itself.
            BackendClosedError: the pipeliner was stopped before the command was sent.
        """
        if self._server is None:
            raise BackendClosedError("the mailbox is not running")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Command(script, arguments, reply))
        self._wakeup.set()
        return await reply

    async def stop(self) -> None:
        """Serve no more; what was not sent fails."""
        server, self._server = self._server, None
        if server is not None:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)
        for command in self._queue:
            if not command.reply.done():
                command.reply.set_exception(BackendClosedError("the mailbox was stopped"))
        self._queue.clear()

    async def _load(self) -> None:
        texts = [script_text(name) for name in self._names]
        async with self._client.pipeline(transaction=False) as pipeline:
            for text in texts:
                pipeline.script_load(text)
            digests = await pipeline.execute()
        self._digests = dict(zip(self._names, map(_text, digests), strict=True))

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
        try:
            with translated(self._contact.where):
                replies = await self._exchange(batch)
                if any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
                    await self._load()
        except BackendUnavailableError as exc:
            return exc
        return self._hand_out(batch, replies)

    async def _exchange(self, batch: list[_Command]) -> list[Any]:
        """The reply to each command, an error included.

        Past redis-py's pipeline, whose packing in Python would cost more than all the rest.
        """
        packed = b"".join(
            hiredis.pack_command(("EVALSHA", self._digests[script], 0, *self._head, *arguments))
            for script, arguments, _ in batch
        )
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(packed)
            return [await _reply_on(connection) for _ in batch]
        except BaseException:
            # What is still to come would be taken for the replies to the next commands.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    def _hand_out(
        self, batch: list[_Command], replies: list[Any]
    ) -> BackendUnavailableError | None:
        refusal = None
        for command, reply in zip(batch, replies, strict=True):
            try:
                with translated(self._contact.where):
                    if isinstance(reply, redis.exceptions.NoScriptError):
                        continue
                    if isinstance(reply, Exception):
                        raise reply
            except BackendUnavailableError as exc:
                refusal = exc
            except BackendError as exc:
                if not command.reply.done():
                    command.reply.set_exception(exc)
            else:
                if not command.reply.done():
                    command.reply.set_result(reply)
        return refusal


async def _reply_on(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except redis.ResponseError as exc:
        return exc


def _text(digest: bytes | str) -> str:
    return digest.decode() if isinstance(digest, bytes) else digest
