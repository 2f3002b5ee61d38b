"""Fixtures that every kind of test may use."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest
import redis

from tests.servers import RedisServer, running_redis

# Contracts and models tell what they compared, as tests do.
pytest.register_assert_rewrite("tests.conformance", "tests.races")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what every process of a run inherits."""
    # A shell's background job ignores interrupts, as would all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        _keep_temporary_files_together(config)


def _keep_temporary_files_together(config: pytest.Config) -> None:
    """Python's processes leave folders behind when they are killed, and here many are."""
    # What pytest keeps of the last runs stays where it was.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="pump-tests-")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real server for the whole session; every test keeps to its own prefix."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client, to look at what is really there."""
    client = redis.Redis.from_url(redis_server.url)
    yield client
    client.close()


@pytest.fixture
def redis_prefix(redis_client: redis.Redis) -> Iterator[str]:
    """A prefix of the test's own; what is left under it at the end is deleted."""
    prefix = f"test-{uuid4().hex}:"
    yield prefix
    for key in redis_client.scan_iter(match=f"{prefix}*", count=1000):
        redis_client.delete(key)
