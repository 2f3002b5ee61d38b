"""Lets what is accepted reach the workers though Redis has no memory to spare.

What waits to be published is what fills it: were that refused, none would ever be freed. A script's
first write is all that Redis refuses for want of memory, and none that only deletes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from kombu.transport.redis import Channel
from kombu.utils.json import dumps

_PUSH, _BIND = (
    f"redis.call('PERSIST', KEYS[1]) return redis.call('{command}', KEYS[1], ARGV[1])"
    for command in ("LPUSH", "SADD")
)

Act = Callable[..., None]


def publish_though_full(channel: Any) -> None:
    """Have *channel*, if it is one of kombu's to Redis, publish whether or not memory is full."""
    if isinstance(channel, Channel):
        own: Any = channel
        own._put = partial(_put, channel, channel._put)
        own._queue_bind = partial(_bind, channel, channel._queue_bind)


def consume_though_full() -> None:
    """Have every channel of this process declare what it consumes from, whether or not it is."""
    everyones: Any = Channel
    bind, size = everyones._queue_bind, everyones._size

    def bind_though_full(channel: Any, *binding: str) -> None:
        _bind(channel, partial(bind, channel), *binding)

    def size_though_full(channel: Any, queue: str) -> int:
        return _size(channel, partial(size, channel), queue)

    delete = everyones._delete

    def delete_though_full(channel: Any, queue: str, *binding: str, **options: Any) -> None:
        try:
            delete(channel, queue, *binding, **options)
        except redis.exceptions.OutOfMemoryError:
            # Its binding is gone before, or ends by itself.
            with channel.conn_or_acquire() as client:
                for each in channel.priority_steps:
                    client.delete(channel._q_for_pri(queue, each))

    everyones._queue_bind, everyones._size = bind_though_full, size_though_full
    everyones._delete = delete_though_full


def _put(channel: Any, put: Act, queue: str, message: dict[str, Any], **options: Any) -> None:
    try:
        put(queue, message, **options)
    except redis.exceptions.OutOfMemoryError:
        priority = channel._get_message_priority(message, reverse=False)
        _run(channel, _PUSH, channel._q_for_pri(queue, priority), dumps(message))


def _bind(channel: Any, bind: Act, exchange: str, *binding: str) -> None:
    try:
        bind(exchange, *binding)
    except redis.exceptions.OutOfMemoryError:
        member = channel.sep.join(part or "" for part in binding)
        for key in (channel.keyprefix_queue, channel.keyprefix_binding_permanent):
            _run(channel, _BIND, key % (exchange,), member)


def _size(channel: Any, size: Callable[[str], int], queue: str) -> int:
    try:
        return size(queue)
    except redis.exceptions.OutOfMemoryError:
        # In a transaction Redis refuses whatever there is, reading included.
        with channel.conn_or_acquire() as client:
            queues = (channel._q_for_pri(queue, each) for each in channel.priority_steps)
            return sum(client.llen(each) for each in queues)


def _run(channel: Any, script: str, key: str, value: str) -> None:
    with channel.conn_or_acquire() as client:
        client.evalsha(client.script_load(script), 1, key, value)
