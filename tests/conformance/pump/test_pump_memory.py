"""The pump's suite over the memory backend."""

from tests.conformance.pump import conversations, gathering, limits


class TestConversations(conversations.Conversations): ...


class TestDoor(conversations.Door): ...


class TestErrors(conversations.Errors): ...


class TestGathering(gathering.Gathering): ...


class TestBounds(limits.Bounds): ...


class TestOrder(limits.Order): ...


class TestAgents(limits.Agents): ...


class TestWatching(limits.Watching): ...


class TestShutdown(limits.Shutdown): ...
