"""The pump's suite over Redis, with handlers on the pump."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from backends import BackendConfig
from tests.conformance.pump import conversations, gathering, limits
from tests.servers import RedisServer


class OverRedis:
    """Each test has a prefix of its own."""

    backend_config = BackendConfig()

    @pytest.fixture(autouse=True)
    def _redis(self, redis_server: RedisServer, redis_prefix: str) -> Iterator[None]:
        self.backend_config = replace(
            self.backend_config,
            backend_type="redis",
            redis_url=redis_server.url,
            redis_prefix=redis_prefix,
        )
        yield


class TestConversations(OverRedis, conversations.Conversations): ...


class TestDoor(OverRedis, conversations.Door): ...


class TestErrors(OverRedis, conversations.Errors): ...


class TestGathering(OverRedis, gathering.Gathering): ...


class TestBounds(OverRedis, limits.Bounds): ...


class TestOrder(OverRedis, limits.Order): ...


class TestAgents(OverRedis, limits.Agents): ...


class TestWatching(OverRedis, limits.Watching): ...


class TestShutdown(OverRedis, limits.Shutdown): ...
