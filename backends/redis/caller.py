"""Runs one command after another, each to its reply, for threads.

Past redis-py's client, whose way to a reply takes longer than the reply: a connection is taken and
put back without asking the socket each time, and packed in C. Connections are redis-py's own.
"""

import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis

from backends.redis.connection import describe, speaks_for_a_replica, translated
from backends.redis.scripts import script_digest, script_text

#: Seconds a connection may have been idle without being asked whether it still stands.
FRESH_S = 1.0


class Caller:
    """As many connections as threads that call at once. Safe from many threads, and after a fork.

    Args:
        client: whose connections are used; not closed here.
        head: what every script gets first.
        scripts: names of those that are run.
    """

    def __init__(
        self, client: redis.Redis, *, head: Sequence[Any] = (), scripts: Iterable[str] = ()
    ) -> None:
        self.where = describe(client)
        self._client: Any = client
        self._head = tuple(head)
        self._digests = {name: script_digest(name) for name in scripts}
        #: Connections at rest, and since when.
        self._idle: deque[tuple[Any, float]] = deque()
        self._pid = os.getpid()

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script; its reply.

        Raises:
            BackendUnavailableError: Redis does not answer, or refuses for now.
            BackendError: it refuses.
        """
        with translated(self.where):
            words = ("EVALSHA", self._digests[script], 0, *self._head, *arguments)
            try:
                return self._exchange(words)
            except redis.exceptions.NoScriptError:
                self._exchange(("SCRIPT", "LOAD", script_text(script)))
                return self._exchange(words)

    def call(self, *words: Any) -> Any:
        """Run a command; its reply.

        Raises:
            BackendUnavailableError, BackendError: as `run`.
        """
        with translated(self.where):
            return self._exchange(words)

    def close(self) -> None:
        """Let go of all connections."""
        pool = self._client.connection_pool
        while self._idle:
            connection, _ = self._idle.pop()
            pool.release(connection)

    def _exchange(self, words: tuple[Any, ...]) -> Any:
        connection = self._take()
        try:
            connection.send_packed_command([hiredis.pack_command(words)])
            reply = connection.read_response()
        except redis.ResponseError as exc:
            if speaks_for_a_replica(exc):
                self._drop(connection)
            else:
                self._idle.append((connection, time.monotonic()))
            raise
        except BaseException:
            # A reply that is still to come would be taken for the next command's.
            self._drop(connection)
            raise
        self._idle.append((connection, time.monotonic()))
        return reply

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._client.connection_pool.release(connection)

    def _take(self) -> Any:
        if self._pid != os.getpid():
            # What a process inherited from its parent is the parent's.
            self._idle, self._pid = deque(), os.getpid()
        pool = self._client.connection_pool
        try:
            connection, since = self._idle.pop()
        except IndexError:
            return pool.get_connection()
        if time.monotonic() - since < FRESH_S:
            return connection
        # The pool looks whether it still stands.
        pool.release(connection)
        return pool.get_connection()
