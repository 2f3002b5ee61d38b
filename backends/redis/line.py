"""One connection of an event loop, for whoever sends again and again.

Past redis-py's client, which takes a connection anew for each command, asks it whether it still
stands, and starts a task to send. The connection is redis-py's own.
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

    async def exchange(self, packed: bytes, replies: int) -> list[Any]:
        """Send commands; the reply to each, where Redis refuses one its error.

        Raises:
            redis.RedisError: there is no connection, or it broke; some may have been run.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                connection = await self._ready()
                await connection.send_packed_command(packed)
                found = [await _reply_on(connection) for _ in range(replies)]
        except TimeoutError:
            await self.drop()
            raise redis.exceptions.TimeoutError(f"no reply within {self.timeout_s} s") from None
        except BaseException:
            # What is still to come would be taken for the replies to the next commands.
            await self.drop()
            raise
        self._used_at = time.monotonic()
        return found

    async def drop(self) -> None:
        """Close the connection; the next exchange makes it anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _ready(self) -> Any:
        if self._connection is None:
            self._connection = await self._pool.get_connection()
            # One limit for the whole exchange does; redis-py's own would cost a task each time.
            self._connection.socket_timeout = None
        elif time.monotonic() - self._used_at > FRESH_S:
            await self._pool.ensure_connection(self._connection)
        return self._connection


async def _reply_on(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except redis.ResponseError as exc:
        return exc
