"""What a Redis server says of itself, as far as it matters to those who keep work in it."""

from dataclasses import dataclass
from typing import Any

import redis

from backends.redis.connection import connect, describe, disconnect, translated

#: Our scripts use ZADD GT, XADD NOMKSTREAM and XPENDING by consumer.
OLDEST_VERSION = (6, 2)


@dataclass(frozen=True)
class Server:
    """One server; None where it does not tell."""

    where: str
    version: str
    is_cluster: bool
    #: What happens when memory is full; `noeviction` refuses writes and loses nothing.
    eviction: str | None
    #: Bytes in use, and the most there may be; 0 is without limit.
    used_bytes: int
    max_bytes: int
    #: True with an append-only file, and when that reaches the disk.
    is_appending: bool
    fsync: str | None

    @property
    def is_old(self) -> bool:
        """True when our scripts would not run on it."""
        numbers = [int(part) for part in self.version.split(".")[:2] if part.isdecimal()]
        return tuple(numbers) < OLDEST_VERSION


def inspect_server(url: str) -> Server:
    """Ask the server behind *url*. Blocking.

    Raises:
        ValueError: the URL can't be read.
        BackendUnavailableError: it does not answer, or refuses.
    """
    client: Any = connect(url)
    where = describe(client)
    try:
        with translated(where):
            info = client.info("everything")
            fsync = _setting(client, "appendfsync")
    finally:
        disconnect(client)
    return Server(
        where=where,
        version=str(info.get("redis_version", "0")),
        is_cluster=bool(info.get("cluster_enabled", 0)),
        eviction=info.get("maxmemory_policy"),
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        is_appending=bool(info.get("aof_enabled", 0)),
        fsync=fsync,
    )


def _setting(client: Any, name: str) -> str | None:
    """One setting; None where a managed server does not show them."""
    try:
        value = client.config_get(name).get(name)
    except redis.ResponseError:
        return None
    return None if value is None else str(value)
