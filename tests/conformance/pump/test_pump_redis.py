"""The pump's suite over Redis.

`Order` is not here: what a pump has taken it starts in the order asked for, but what it takes
next is whatever the stream holds by then.
"""

from dataclasses import replace

import pytest

from backends import BackendConfig
from pipeline.events import Event
from tests.conformance.pump import agents, conversations, door, errors, gathering, limits, stopping
from tests.servers import RedisServer


class OverRedis:
    """Each test has a prefix of its own."""

    backend_config = BackendConfig()

    @pytest.fixture(autouse=True)
    def _redis(self, redis_server: RedisServer, redis_prefix: str) -> None:
        self.backend_config = replace(
            self.backend_config,
            backend_type="redis",
            redis_url=redis_server.pump_url,
            redis_prefix=redis_prefix,
        )


class TestConversations(OverRedis, conversations.Conversations): ...


class TestDoor(OverRedis, door.Door): ...


class TestErrors(OverRedis, errors.Errors): ...


class TestGathering(OverRedis, gathering.Gathering): ...


class TestBounds(OverRedis, limits.Bounds): ...


class TestAgents(OverRedis, agents.Agents): ...


class TestWatching(OverRedis, limits.Watching):
    def arranged(self, kinds: list[type[Event]]) -> list[type[Event]]:
        """A message may be taken before its sender hears that it was accepted."""
        return sorted(kinds, key=lambda kind: kind.__name__)


class TestShutdown(OverRedis, stopping.Shutdown): ...
