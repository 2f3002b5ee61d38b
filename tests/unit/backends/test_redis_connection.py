"""From URLs to clients, and from Redis's errors to ours."""

from typing import Any

import pytest
import redis

from backends import BackendError, BackendUnavailableError, RedisBackend
from backends.redis.connection import connect, describe, translated


def test_options_of_the_url_pass_through() -> None:
    """User, password, database and socket options reach redis-py, and outrank our defaults."""
    options = connect(
        "redis://me:p%40ss@example.org:7000/5?socket_timeout=1.5&health_check_interval=7"
    ).connection_pool.connection_kwargs
    expected = {
        "host": "example.org",
        "port": 7000,
        "db": 5,
        "username": "me",
        "password": "p@ss",
        "socket_timeout": 1.5,
        "socket_connect_timeout": 5.0,
        "health_check_interval": 7,
    }
    assert {name: options[name] for name in expected} == expected


def test_tls() -> None:
    """`rediss://` connects by TLS, with the certificate options of the URL."""
    pool = connect("rediss://example.org/0?ssl_cert_reqs=none").connection_pool
    assert pool.connection_class is redis.SSLConnection
    assert pool.connection_kwargs["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://me:pw@example.org:7000/5", "redis at example.org:7000"),
        ("redis://", "redis at localhost:6379"),
        ("unix://me:pw@/run/redis.sock", "redis at /run/redis.sock"),
        (
            "sentinel://me:pw@one;sentinel://two:7/main",
            "redis master 'main' by sentinel at one:26379, two:7",
        ),
    ],
)
def test_a_place_is_told_without_secrets(url: str, where: str) -> None:
    """Errors name where the server is, never user or password."""
    assert describe(connect(url)) == where


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://me:p%40ss@one:1;sentinel://two/main?db=3&socket_timeout=1",
        "sentinel://one:1;sentinel://me:p%40ss@two:26379/3?master_name=main&socket_timeout=1",
    ],
)
def test_sentinel_urls(url: str) -> None:
    """All nodes are asked; account, database and options are the master's."""
    pool: Any = connect(url).connection_pool
    nodes = [
        (
            node.connection_pool.connection_kwargs["host"],
            node.connection_pool.connection_kwargs["port"],
        )
        for node in pool.sentinel_manager.sentinels
    ]
    assert nodes == [("one", 1), ("two", 26379)]
    assert pool.service_name == "main"
    expected = {"username": "me", "password": "p@ss", "db": 3, "socket_timeout": 1.0}
    assert {name: pool.connection_kwargs[name] for name in expected} == expected


def test_sentinels_may_have_a_password_of_their_own() -> None:
    """The master's password is not sent to the Sentinels."""
    url = "sentinel://:master@one/main?sentinel_password=watch&sentinel_username=w"
    pool: Any = connect(url).connection_pool
    node = pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert (node["username"], node["password"]) == ("w", "watch")
    assert pool.connection_kwargs["password"] == "master"
    assert "sentinel_password" not in pool.connection_kwargs


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org", "scheme"),
        ("sentinel://one/0", "master_name"),
        ("sentinel://one/main?ssl=true&ssl_ca_certs=ca.pem", "no TLS"),
        ("redis://me:s3/cret@example.org", "percent-encode"),
        ("redis://example.org/0?socket_timeout=soon", "socket_timeout"),
        ("redis://exa..mple:1/0", "label empty"),
        ("sentinel://one;sentinel://tw..o/main", "label empty"),
    ],
)
def test_a_bad_url_is_told_without_its_password(url: str, reason: str) -> None:
    """What is wrong with a URL is said when it is read, and the URL is not repeated."""
    with pytest.raises(ValueError, match=reason) as caught:
        RedisBackend(url)
    assert "s3" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_client_that_decodes_is_refused() -> None:
    """Slots are bytes; a client that would decode them is a mistake found at once."""
    with pytest.raises(ValueError, match="decode"):
        RedisBackend(client=redis.Redis(decode_responses=True))
    with pytest.raises(ValueError, match="decode"):
        RedisBackend("redis://localhost?decode_responses=1")


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("slow"),
    ],
)
def test_the_servers_state_is_unavailability(error: redis.RedisError) -> None:
    """What another moment may cure is `BackendUnavailableError`, with place and reason."""
    with (
        pytest.raises(BackendUnavailableError, match="redis at here") as caught,
        translated("redis at here"),
    ):
        raise error
    assert str(error) in str(caught.value)


def test_other_errors_are_not_unavailability() -> None:
    """What no retry cures is a plain `BackendError`."""
    with pytest.raises(BackendError) as caught, translated("redis at here"):
        raise redis.ResponseError("WRONGTYPE Operation against a key")
    assert not isinstance(caught.value, BackendUnavailableError)
