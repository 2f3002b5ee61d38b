"""From a URL to a client of Redis, and from its errors to ours.

The client connects when first used, waits for nothing without an end, and never
repeats a command by itself: an append whose answer was lost may have happened.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from backends.errors import BackendError, BackendUnavailableError

#: Seconds to connect, and to wait for an answer, unless the URL says otherwise.
_TIMEOUT_S = 5.0
_SENTINEL_PORT = 26379
#: Answers that speak of the server's state, not of our command; some have classes of
#: their own, and a script of Redis 6 hides them in its text.
_REFUSED = (
    redis.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.NoPermissionError,
)
_REFUSALS = re.compile(
    r"\b(OOM|MISCONF|READONLY|LOADING|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|BUSY"
    r"|NOAUTH|NOPERM|WRONGPASS|DENIED)\b"
)


def connect(url: str) -> redis.Redis:
    """A client for *url*: redis, rediss, unix, or kombu's sentinel form.

    `sentinel://user:password@host:port;sentinel://host2:port/service` takes the
    master's name from its path or from `?master_name=`; a number in the path is the
    database. User, password and socket options are the master's; those of the
    Sentinels themselves are `sentinel_username` and `sentinel_password`.

    Raises:
        ValueError: the URL can't be read. Its text is not repeated, for its password.
    """
    try:
        if url.startswith("sentinel://"):
            client = _connect_by_sentinel(url)
        else:
            client = redis.Redis.from_url(url, **_with_defaults({}))
        for each in (client, *_sentinels(client)):
            # What can't be a host name would else raise no `OSError` on connecting.
            each.connection_pool.connection_kwargs.get("host", "").encode("idna")
    except ValueError as exc:
        raise ValueError(f"the Redis URL can't be read: {_reason(exc)}") from None
    return client


def disconnect(client: redis.Redis) -> None:
    """Close every connection of *client*, those to its Sentinels included."""
    for each in (client, *_sentinels(client)):
        each.close()
        each.connection_pool.disconnect()


def describe(client: redis.Redis) -> str:
    """Where *client* connects, in words without user or password."""
    pool: Any = client.connection_pool
    sentinels = [_place(sentinel) for sentinel in _sentinels(client)]
    if sentinels:
        return f"redis master {pool.service_name!r} by sentinel at {', '.join(sentinels)}"
    return f"redis at {_place(client)}"


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise redis-py's errors as ours, naming *where*."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as exc:
        raise BackendUnavailableError(f"{where} does not answer: {exc}") from exc
    except redis.RedisError as exc:
        if isinstance(exc, _REFUSED) or _REFUSALS.search(str(exc)):
            raise BackendUnavailableError(f"{where} refuses: {exc}") from exc
        raise BackendError(f"{where} failed: {exc}") from exc


def _connect_by_sentinel(url: str) -> redis.Redis:
    nodes = [urlsplit(part.strip()) for part in url.split(";") if part.strip()]
    accounts = [node.netloc.rpartition("@")[0] for node in nodes if "@" in node.netloc]
    account = f"{accounts[0]}@" if accounts else ""
    last = nodes[-1]
    query = dict(parse_qsl(last.query))
    name = query.pop("master_name", "" if last.path[1:].isdecimal() else last.path[1:])
    if not name:
        raise ValueError("a sentinel URL names its master: /name or ?master_name=name")
    of_sentinels = {
        option: query.pop(f"sentinel_{option}")
        for option in ("username", "password")
        if f"sentinel_{option}" in query
    }
    of_master = f"redis://{account}localhost{last.path}?{urlencode(query)}"
    options = parse_url(of_master)  # type: ignore[no-untyped-call]
    del options["host"]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(node.hostname or "localhost", node.port or _SENTINEL_PORT) for node in nodes],
        sentinel_kwargs=_with_defaults(of_sentinels),
        **_with_defaults(options),
    )
    client: redis.Redis = sentinel.master_for(name)  # type: ignore[no-untyped-call]
    return client


def _sentinels(client: redis.Redis) -> list[redis.Redis]:
    return list(getattr(getattr(client.connection_pool, "sentinel_manager", None), "sentinels", []))


def _place(client: redis.Redis) -> str:
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        **options,
    }


def _reason(exc: ValueError) -> str:
    """The text of *exc*; without what `urllib` quotes, which may be part of a password."""
    text = str(exc)
    if "could not be cast" in text:
        return "its port is no number; percent-encode special characters of the password"
    return text
