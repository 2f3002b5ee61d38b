"""From a URL to a client of Redis, and from its errors to ours.

The client connects when first used, waits for nothing without an end, and never
repeats a command by itself: an append whose answer was lost may have happened.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from backends.contact import Contact, unquoted
from backends.errors import (
    BackendDeniedError,
    BackendError,
    BackendRefusingError,
    BackendUnavailableError,
)
from backends.redis.refusals import Refusal, refusal_in

#: Seconds to connect, and to wait for an answer, unless the URL says otherwise.
_TIMEOUT_S = 5.0
_SENTINEL_PORT = 26379
_TIMEOUTS = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
_BLOCKING: Mapping[str, Any] = {**_TIMEOUTS, "retry": Retry(NoBackoff(), 0)}
_AWAITED: Mapping[str, Any] = {**_TIMEOUTS, "retry": AsyncRetry(NoBackoff(), 0)}

AnyRedis = redis.Redis | redis.asyncio.Redis


def connect(url: str) -> redis.Redis:
    """A client for *url*: redis, rediss, unix, or kombu's sentinel form.

    `sentinel://user:password@host:port;sentinel://host2:port/service` takes the
    master's name from its path or from `?master_name=`; a number in the path is the
    database. User, password and socket options are the master's; those of the
    Sentinels themselves are `sentinel_username` and `sentinel_password`. There is no TLS.

    Raises:
        ValueError: the URL can't be read. Its text is not repeated, for its password.
    """
    with _refused_urls():
        if url.startswith("sentinel://"):
            target = SentinelTarget.parse(url)
            sentinel = Sentinel(target.nodes, **target.options(_BLOCKING))  # type: ignore[no-untyped-call]
            client: redis.Redis = sentinel.master_for(target.name)  # type: ignore[no-untyped-call]
        else:
            client = redis.Redis.from_url(url, **_BLOCKING)
        _check_hosts(client)
        return client


def connect_async(url: str) -> redis.asyncio.Redis:
    """The same for an event loop; commands sent together share one connection.

    Raises:
        ValueError: as `connect`.
    """
    with _refused_urls():
        if url.startswith("sentinel://"):
            target = SentinelTarget.parse(url)
            sentinel = AsyncSentinel(target.nodes, **target.options(_AWAITED))  # type: ignore[no-untyped-call]
            client: redis.asyncio.Redis = sentinel.master_for(target.name)
        else:
            client = redis.asyncio.Redis.from_url(url, **_AWAITED)
        _check_hosts(client)
        return client


def _check_hosts(client: AnyRedis) -> None:
    """Refuse what can't be a host name, which would else raise no `OSError` on connecting."""
    for each in (client, *_sentinels(client)):
        options: Any = each.connection_pool.connection_kwargs
        options.get("host", "").encode("idna")


def disconnect(client: redis.Redis) -> None:
    """Close every connection of *client*, those to its Sentinels included."""
    for each in (client, *_sentinels(client)):
        each.close()
        each.connection_pool.disconnect()


async def disconnect_async(client: redis.asyncio.Redis) -> None:
    """The same for an event loop."""
    for each in (client, *_sentinels(client)):
        await each.aclose()
        await each.connection_pool.disconnect()


def describe(client: AnyRedis) -> str:
    """Where *client* connects, in words without user or password."""
    pool: Any = client.connection_pool
    sentinels = [_place(sentinel) for sentinel in _sentinels(client)]
    if sentinels:
        return f"redis master {pool.service_name!r} by sentinel at {', '.join(sentinels)}"
    return f"redis at {_place(client)}"


def is_same_account(one: AnyRedis, other: AnyRedis) -> bool:
    """Whether both are of one server, by the same name, of one database and one user."""
    return describe(one) == describe(other) and _account(one) == _account(other)


def speaks_for_a_replica(exc: redis.ResponseError) -> bool:
    """True where another server is the primary by now: the connection leads to the wrong one."""
    refusal = refusal_in(exc)
    is_replica = refusal is not None and refusal.code in ("READONLY", "MASTERDOWN")
    # What was blocked in a primary that has become a replica is let go with this.
    return is_replica or "UNBLOCKED" in str(exc)


class translated:  # noqa: N801 - reads as what it does
    """Raise redis-py's errors as ours, naming *where*."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exc, redis.RedisError):
            text = unquoted(str(exc))
            # Nor may a traceback show as the cause what is cut off.
            cause = exc if text == str(exc) else None
            raise _translation_of(exc, text, self._where) from cause


def _translation_of(exc: redis.RedisError, text: str, where: str) -> BackendError:
    refusal = refusal_in(exc)
    if refusal is not None:
        return refused(refusal, where)
    if isinstance(exc, (redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse)):
        # The last one comes from whoever stands before a server that is away.
        return BackendUnavailableError(f"{where} does not answer: {text}")
    return BackendError(f"{where} failed: {text}")


def hear(contact: Contact, refused: Any, *, since: float) -> None:
    """Tell *contact* of an answer, and of what it says Redis refuses of others: an error of its."""
    if not isinstance(refused, redis.RedisError):
        contact.answered(since=since)
        return
    contact.lost(_translation_of(refused, str(refused), contact.where), since=since)


def refused(refusal: Refusal, where: str) -> BackendUnavailableError:
    """A refusal as our error; the same text for the same refusal, whatever was asked."""
    if refusal.is_of_writes:
        return BackendRefusingError(f"{where} takes no writes: {refusal}")
    if refusal.is_of_access:
        return BackendDeniedError(f"{where} refuses: {refusal}")
    return BackendUnavailableError(f"{where} refuses: {refusal}")


@contextmanager
def _refused_urls() -> Iterator[None]:
    try:
        yield
    except ValueError as exc:
        raise ValueError(f"the Redis URL can't be read: {_reason(exc)}") from None


@dataclass(frozen=True)
class SentinelTarget:
    """What a sentinel URL says."""

    nodes: list[tuple[str, int]]
    name: str
    of_sentinels: dict[str, Any] = field(repr=False)
    of_master: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "SentinelTarget":
        """What is behind *url*.

        Raises:
            ValueError: it names no master, or can't be read.
        """
        nodes = [urlsplit(part.strip()) for part in url.split(";") if part.strip()]
        accounts = [node.netloc.rpartition("@")[0] for node in nodes if "@" in node.netloc]
        account = f"{accounts[0]}@" if accounts else ""
        last = nodes[-1]
        query = dict(parse_qsl(last.query))
        if any(option == "ssl" or option.startswith("ssl_") for option in query):
            raise ValueError("a sentinel URL has no TLS, neither to Sentinels nor to Redis")
        name = query.pop("master_name", "" if last.path[1:].isdecimal() else last.path[1:])
        if not name:
            raise ValueError("a sentinel URL names its master: /name or ?master_name=name")
        of_sentinels = {
            option: query.pop(f"sentinel_{option}")
            for option in ("username", "password")
            if f"sentinel_{option}" in query
        }
        of_master = parse_url(f"redis://{account}localhost{last.path}?{urlencode(query)}")  # type: ignore[no-untyped-call]
        del of_master["host"]
        hosts = [(node.hostname or "localhost", node.port or _SENTINEL_PORT) for node in nodes]
        return cls(hosts, name, of_sentinels, of_master)

    def options(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """What redis-py's `Sentinel` takes besides the nodes."""
        return {"sentinel_kwargs": {**defaults, **self.of_sentinels}, **defaults, **self.of_master}


def _sentinels(client: AnyRedis) -> list[Any]:
    return list(getattr(getattr(client.connection_pool, "sentinel_manager", None), "sentinels", []))


def _place(client: AnyRedis) -> str:
    options: Any = client.connection_pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _account(client: AnyRedis) -> tuple[int, str]:
    options: Any = client.connection_pool.connection_kwargs
    return int(options.get("db") or 0), options.get("username") or ""


def _reason(exc: ValueError) -> str:
    """The text of *exc*; without what `urllib` quotes, which may be part of a password."""
    text = str(exc)
    if "could not be cast" in text:
        return "its port is no number; percent-encode special characters of the password"
    return text
