"""The pump's suite over the memory backend."""

from tests.conformance.pump import (
    agents,
    conversations,
    door,
    elsewhere,
    errors,
    gathering,
    limits,
    stopping,
)


class TestConversations(conversations.Conversations): ...


class TestDoor(door.Door): ...


class TestErrors(errors.Errors): ...


class TestGathering(gathering.Gathering): ...


class TestBounds(limits.Bounds): ...


class TestOrder(limits.Order): ...


class TestAgents(agents.Agents): ...


class TestWatching(limits.Watching): ...


class TestShutdown(stopping.Shutdown): ...


class TestElsewhere(elsewhere.Elsewhere): ...
