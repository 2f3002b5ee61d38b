"""Sends the task messages that carry dispatches: through Celery and kombu, or past them into Redis.

Their own way to publish costs half a millisecond, most of it for what is the same in every message.
Where the broker is Redis they make one message of each task, and the rest is made after it.
"""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from celery import Celery, signals

from backends.errors import BackendRefusingError
from backends.mailbox import TaskMessage
from backends.redis.caller import Caller
from backends.redis.connection import connect, disconnect, is_same_account
from backends.redis.ledger import Batch, ids_in
from pipeline.organism import Organism
from tasks.broker import TIMEOUT_S, hard_limit_s
from tasks.names import task_name

#: Whoever listens to these may change a message, or wants to know of each: Celery tells them.
_SIGNALS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
_encode = msgspec.json.Encoder().encode


class Carriers:
    """Publishes batches over one connection, which is not closed here.

    Every method raises what the broker's library does when it can't be reached, or a
    `BackendError` where that library is our own.
    """

    def __init__(self, app: Celery, organism: Organism, connection: Any) -> None:
        self._app = app
        self._organism = organism
        self._producer = app.amqp.Producer(connection)
        self._limits = {
            listener.name: hard_limit_s(listener.timeout_s, organism.celery.batch_budget_ms)
            for listener in organism.listeners
            if listener.timeout_s is not None
        }
        self._is_redis = connection.transport.driver_type == "redis"
        self._patterns: dict[str, _Pattern] = {}
        self._caller: Caller | None = None
        #: The list that is the queue, where the ledger's own connections reach it as well.
        self._shared_queue: str | None = None

    def send(self, batches: Sequence[Batch]) -> None:
        """Publish them, in order; where that fails some may have been."""
        if self._is_redis and not _is_anybody_told():
            self._push(batches)
        else:
            for batch in batches:
                self._publish(_task_id(batch), batch.listener, batch.ids)

    def message_for(self, listener: str, dispatch_id: str) -> TaskMessage | None:
        """What carries one dispatch, for whoever can put it into the queue by itself.

        None where that is not the ledger's Redis, where somebody wants to be told, and until
        *listener*'s first message has been sent. Safe from any thread.
        """
        queue, pattern = self._shared_queue, self._patterns.get(listener)
        if queue is None or pattern is None or _is_anybody_told():
            return None
        return TaskMessage(queue, pattern.filled(dispatch_id, dispatch_id))

    def close(self) -> None:
        """Let go of what was opened here."""
        if self._caller is not None:
            self._caller.close()

    def _publish(self, task_id: str, listener: str, ids: str) -> None:
        name = task_name(self._organism, listener)
        message = self._app.amqp.create_task_message(
            task_id,
            name,
            args=(ids,),
            argsrepr="()",
            kwargsrepr="{}",
            ignore_result=True,
            time_limit=self._limits.get(listener),
        )
        self._app.amqp.send_task_message(
            self._producer, name, message, retry=False, confirm_timeout=TIMEOUT_S
        )

    def _push(self, batches: Sequence[Batch]) -> None:
        """All in one command: there is one queue."""
        if self._caller is None:
            # Kombu's own client, for all that the broker's URL and options say.
            client = self._producer.channel.client
            self._caller = Caller(client)
            if self._is_ledgers(client):
                self._shared_queue = self._key()
        for batch in batches:
            if batch.listener not in self._patterns:
                with _caught(self._producer.channel) as caught:
                    self._publish("", batch.listener, "")
                self._patterns[batch.listener] = _Pattern.of(caught[0])
        patterns = self._patterns
        messages = [patterns[each.listener].filled(_task_id(each), each.ids) for each in batches]
        try:
            self._caller.call("LPUSH", self._key(), *messages)
        except BackendRefusingError:
            # Kombu's channel was given a way where memory is full.
            for batch in batches:
                self._publish(_task_id(batch), batch.listener, batch.ids)

    def _is_ledgers(self, client: Any) -> bool:
        ledgers = connect(self._organism.backend.redis_url)
        try:
            return is_same_account(client, ledgers)
        finally:
            disconnect(ledgers)

    def _key(self) -> str:
        channel = self._producer.channel
        return f"{channel.global_keyprefix}{self._organism.celery.queue}"


class _Pattern(NamedTuple):
    """One message as kombu writes it, taken apart."""

    message: dict[str, Any]
    headers: dict[str, Any]
    properties: dict[str, Any]
    kwargs: Any
    embedded: Any

    @classmethod
    def of(cls, message: dict[str, Any]) -> "_Pattern":
        _, kwargs, embedded = msgspec.json.decode(base64.b64decode(message["body"]))
        return cls(message, message["headers"], message["properties"], kwargs, embedded)

    def filled(self, task_id: str, ids: str) -> bytes:
        """The message that carries *ids*."""
        body = _encode(((ids,), self.kwargs, self.embedded))
        return _encode(
            self.message
            | {
                "body": base64.b64encode(body).decode(),
                "headers": self.headers | {"id": task_id, "root_id": task_id},
                "properties": self.properties
                | {"correlation_id": task_id, "delivery_tag": str(uuid4())},
            }
        )


def _is_anybody_told() -> bool:
    return any(each.receivers for each in _SIGNALS)


@contextmanager
def _caught(channel: Any) -> Iterator[list[dict[str, Any]]]:
    """What kombu would put into a queue inside; none is."""
    messages: list[dict[str, Any]] = []
    before = vars(channel).get("_put")
    channel._put = lambda _queue, message, **_: messages.append(message)  # noqa: SLF001 - its seam
    try:
        yield messages
    finally:
        del channel._put  # noqa: SLF001 - the class's own shows again
        if before is not None:
            channel._put = before  # noqa: SLF001


def _task_id(batch: Batch) -> str:
    # One that travels alone can be found, and revoked, by its own id.
    return batch.ids if len(ids_in(batch.ids)) == 1 else uuid4().hex
