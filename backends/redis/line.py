"""One connection of an event loop, for whoever sends again and again.

Past redis-py's client, which takes a connection anew for each command, asks it whether it still
stands, and starts a task to send; and past its connection, whose own limits and checks cost more
than the reply. How to connect, and what a reply means, stay redis-py's.
"""

import asyncio
import time
from typing import Any

import redis
import redis.asyncio

from backends.redis.caller import FRESH_S


class Line:
    """A connection that is kept. One exchange at a time.

    Args:
        client: whose pool it comes from; not closed here.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._pool: Any = client.connection_pool
        #: Seconds a reply may take, connecting included; None is without limit.
        timeout_s = self._pool.connection_kwargs.get("socket_timeout")
        self.timeout_s = None if timeout_s is None else float(timeout_s)
        self._connection: Any = None
        self._used_at = 0.0
        #: When the exchange that is on its way is overdue; 0 while there is none.
        self._ends_at = 0.0
        self._is_overdue = False
        #: Rings when one may be. Set for one exchange, and for another only when it has rung: it
        #: costs more to set and to stop than to let it ring for nothing.
        self._alarm: asyncio.TimerHandle | None = None

    async def exchange(self, packed: bytes, replies: int) -> list[Any]:
        """Send commands; the reply to each, where Redis refuses one its error.

        Raises:
            redis.RedisError: there is no connection, or it broke; some may have been run.
        """
        started = time.monotonic()
        try:
            if self._connection is None or not self._is_fresh(started):
                async with asyncio.timeout(self.timeout_s):
                    await self._connect()
            self._expect_by(started)
            found = await _exchanged(self._connection, packed, replies)
        except BaseException as exc:
            # What is still to come would be taken for the replies to the next commands.
            was_overdue = self._is_overdue or isinstance(exc, TimeoutError)
            await self.drop()
            if was_overdue and not isinstance(exc, asyncio.CancelledError):
                text = f"no reply within {self.timeout_s} s"
                raise redis.exceptions.TimeoutError(text) from None
            if isinstance(exc, OSError):
                raise redis.exceptions.ConnectionError(str(exc)) from exc
            raise
        self._ends_at, self._used_at = 0.0, time.monotonic()
        return found

    async def drop(self) -> None:
        """Close the connection; the next exchange makes it anew."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._ends_at, self._is_overdue = None, 0.0, False
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    def _is_fresh(self, now: float) -> bool:
        return now - self._used_at <= FRESH_S and bool(self._connection.is_connected)

    async def _connect(self) -> None:
        """Take a connection that stands, or see to it that the one we have does."""
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        else:
            await self._pool.ensure_connection(self._connection)

    def _expect_by(self, started: float) -> None:
        """From now on the exchange that began then may be overdue."""
        if self.timeout_s is not None:
            self._ends_at = started + self.timeout_s
            if self._alarm is None:
                self._set_alarm(self.timeout_s)

    def _set_alarm(self, seconds: float) -> None:
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self._ends_at:
            return
        left_s = self._ends_at - time.monotonic()
        if left_s > 0:
            self._set_alarm(left_s)
            return
        self._is_overdue = True
        # Whoever waits for the reply hears that the connection is gone.
        self._connection._writer.transport.abort()  # noqa: SLF001 - as below


async def _exchanged(connection: Any, packed: bytes, replies: int) -> list[Any]:
    """Past the connection's own `send_packed_command` and `read_response`: 60 calls of Python."""
    connection._writer.write(packed)  # noqa: SLF001 - it has no shorter way
    parser = connection._parser  # noqa: SLF001
    return [await parser.read_response() for _ in range(replies)]
