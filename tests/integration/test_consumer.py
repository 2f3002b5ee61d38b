"""What a worker's consumer leaves behind in its event loop."""

from celery.worker.consumer import Consumer as CelerysConsumer
from kombu.asynchronous import Hub

from pipeline.organism_file import load_organism
from tasks.application import create_app
from tasks.consumer import Consumer
from tests.integration.conftest import WriteOrganism

#: How often it asks in vain.
TIMES = 4


def test_connections_that_were_not_used_leave_nothing_behind(write: WriteOrganism) -> None:
    """The broker is there, and for long nobody can say whether this worker may take work."""
    app = create_app(load_organism(write()))
    answers = [False] * TIMES + [True]
    app.admit = lambda _: answers.pop(0)
    consumer, hub = Consumer.__new__(Consumer), Hub()
    consumer.app, consumer.hub, consumer.amqheartbeat = app, hub, None
    consumer.first_connection_attempt = True
    consumer.connect().collect()
    assert not answers
    found = len(hub.on_tick), len(hub.timer)
    hub.close()

    hub = consumer.hub = Hub()
    CelerysConsumer.connect(consumer).collect()
    assert found == (len(hub.on_tick), len(hub.timer))
    hub.close()
