"""The pump's suite over the Manager backend."""

from backends import BackendConfig
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

MANAGER = BackendConfig(backend_type="manager")


class TestConversations(conversations.Conversations):
    backend_config = MANAGER


class TestDoor(door.Door):
    backend_config = MANAGER


class TestErrors(errors.Errors):
    backend_config = MANAGER


class TestGathering(gathering.Gathering):
    backend_config = MANAGER


class TestBounds(limits.Bounds):
    backend_config = MANAGER


class TestOrder(limits.Order):
    backend_config = MANAGER


class TestAgents(agents.Agents):
    backend_config = MANAGER


class TestWatching(limits.Watching):
    backend_config = MANAGER


class TestShutdown(stopping.Shutdown):
    backend_config = MANAGER


class TestElsewhere(elsewhere.Elsewhere):
    backend_config = MANAGER
