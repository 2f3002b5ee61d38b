"""Events of runs are gathered before they are published, but not for ever."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from pipeline.organism_file import load_organism
from tasks import events
from tasks.application import create_app
from tasks.events import MOST_GATHERED, EventSender, started_event
from tests.integration.conftest import WriteOrganism
from tests.waiting import eventually


@pytest.fixture
def sender(write: WriteOrganism, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventSender]:
    """One that gathers for longer than any test takes."""
    monkeypatch.setattr(events, "GATHERING_S", 600.0)
    sender = EventSender(create_app(load_organism(write())), "node")
    yield sender
    sender.close()


def test_what_is_much_is_not_kept_waiting(
    sender: EventSender, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """The first goes at once; then as soon as there are enough for a message, and at the end."""
    client: Any = redis_client
    with client.pubsub(ignore_subscribe_messages=True) as listening:
        heard = _Heard(listening, redis_prefix)
        sender.send(started_event("first"))
        assert eventually(lambda: heard.messages() == 1)
        for number in range(MOST_GATHERED - 1):
            sender.send(started_event(f"{number}"))
        assert heard.messages() == 1
        sender.send(started_event("last of many"))
        assert eventually(lambda: heard.messages() == 2)
        sender.send(started_event("last"))
        sender.close()
        assert eventually(lambda: heard.messages() == 3)


class _Heard:
    """How many messages monitors were sent."""

    def __init__(self, listening: Any, prefix: str) -> None:
        self._listening, self._prefix = listening, prefix.encode()
        self._listening.psubscribe("*celeryev*")
        self._listening.get_message(timeout=5)
        self._count = 0

    def messages(self) -> int:
        while (message := self._listening.get_message()) is not None:
            self._count += self._prefix in message["channel"]
        return self._count
