"""Messages made after a pattern are the messages that Celery would have sent."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, signals

from backends.redis.ledger import Batch
from pipeline.organism import Organism
from pipeline.organism_file import load_organism
from tasks.application import create_app
from tasks.carriers import Carriers
from tests.integration.conftest import WriteOrganism, listener
from tests.servers import RedisServer

BATCHES = [Batch("work", "one"), Batch("slow", "a~2 ü"), Batch("work", 'quo"te back\\slash')]


@pytest.fixture
def organism(write: WriteOrganism) -> Organism:
    file: Path = write(listener(), listener("slow", timeout_s=3))
    return load_organism(file)


@pytest.fixture
def app(organism: Organism) -> Celery:
    return create_app(organism)


@pytest.fixture
def connection(app: Celery) -> Iterator[Any]:
    with app.connection_for_write() as connection:
        yield connection


@pytest.fixture
def carriers(app: Celery, organism: Organism, connection: Any) -> Iterator[Carriers]:
    carriers = Carriers(app, organism, connection)
    yield carriers
    carriers.close()


def queued(client: redis.Redis, prefix: str) -> list[dict[str, Any]]:
    """What the queue held, in the order of sending; its bodies decoded."""
    key = f"celery.{prefix}cpu"
    messages = [json.loads(raw) for raw in reversed(client.lrange(key, 0, -1))]
    client.delete(key)
    for message in messages:
        message["body"] = json.loads(base64.b64decode(message["body"]))
    return messages


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """But for those that are made anew each time, which must be there."""
    names = {"headers": ("id", "root_id"), "properties": ("correlation_id", "delivery_tag")}
    for part, drawn in names.items():
        for name in drawn:
            assert message[part].pop(name)
    return message


def test_both_ways_send_the_same(
    carriers: Carriers, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Celery's own, which whoever listens to its signals gets, and ours."""
    told: list[str] = []

    def listen(sender: str, **_: Any) -> None:
        told.append(sender)

    signals.before_task_publish.connect(listen)
    try:
        carriers.send(BATCHES)
    finally:
        signals.before_task_publish.disconnect(listen)
    assert told == ["test.work", "test.slow", "test.work"]
    theirs = queued(redis_client, redis_prefix)
    carriers.send(BATCHES)
    ours = queued(redis_client, redis_prefix)
    assert len(told) == len(BATCHES)
    assert [each["body"][0] for each in ours] == [[batch.ids] for batch in BATCHES]
    assert [each["headers"]["timelimit"][0] for each in ours] == [None, 9, None]
    # One that travels alone goes by its own id.
    assert ours[0]["headers"]["id"] == ours[0]["properties"]["correlation_id"] == "one"
    assert [without_ids(each) for each in ours] == [without_ids(each) for each in theirs]


def test_each_message_has_a_tag_of_its_own(
    carriers: Carriers, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """A broker that keeps what is unacknowledged keeps it by that."""
    carriers.send([BATCHES[0]] * 3)
    tags = {each["properties"]["delivery_tag"] for each in queued(redis_client, redis_prefix)}
    assert len(tags) == 3


def test_what_the_ledger_sends_is_the_same(
    carriers: Carriers, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Made when a listener's first message has been sent, for the list that is the queue."""
    assert carriers.message_for("work", "one") is None
    carriers.send([Batch("work", "one")])
    (sent,) = queued(redis_client, redis_prefix)
    assert carriers.message_for("slow", "one") is None
    message = carriers.message_for("work", "one")
    assert message is not None
    redis_client.lpush(*message)
    (made,) = queued(redis_client, redis_prefix)
    assert made["headers"]["id"] == made["properties"]["correlation_id"] == "one"
    assert without_ids(made) == without_ids(sent)


def test_who_listens_is_told_of_each(carriers: Carriers) -> None:
    """So the ledger sends none meanwhile."""
    carriers.send([Batch("work", "one")])

    def listen(**_: Any) -> None:
        """Want to know."""

    signals.task_sent.connect(listen)
    try:
        assert carriers.message_for("work", "two") is None
    finally:
        signals.task_sent.disconnect(listen)
    assert carriers.message_for("work", "two") is not None


def test_in_another_database_the_ledger_sends_nothing(
    write: WriteOrganism, redis_server: RedisServer, redis_prefix: str
) -> None:
    """Nor by another server, or as another user: it could not reach the queue, or might not."""
    url = redis_server.url.replace("/0", "/1")
    organism = load_organism(write(celery={"broker_url": url}))
    app = create_app(organism)
    with app.connection_for_write() as connection, redis.Redis.from_url(url) as client:
        carriers = Carriers(app, organism, connection)
        carriers.send([Batch("work", "one")])
        assert len(queued(client, redis_prefix)) == 1
        assert carriers.message_for("work", "two") is None
        carriers.close()
        for key in client.scan_iter(match=f"celery.{redis_prefix}*", count=1000):
            client.delete(key)
