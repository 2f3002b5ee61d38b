"""Lets what is accepted reach the workers though Redis has no memory to spare.

What waits to be published is what fills it: were that refused, none would ever be freed. A script's
first write is all that Redis refuses for want of memory, and none that only deletes; in a
transaction it refuses everything, reading included.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from kombu.transport.redis import Channel
from kombu.utils.json import dumps

#: A script's first write: neither a queue that is pushed to nor a table of bindings is to expire.
_MAY_WRITE = "redis.call('PERSIST', KEYS[1]) "
_PUSH, _BIND = (
    f"{_MAY_WRITE}return redis.call('{command}', KEYS[1], ARGV[1])" for command in ("LPUSH", "SADD")
)

Act = Callable[..., Any]


def publish_though_full(channel: Any) -> None:
    """Have *channel*, if it is one of kombu's to Redis, publish whether or not memory is full."""
    if isinstance(channel, Channel):
        for name, act in (_DECLARING | {"_put": _put}).items():
            setattr(channel, name, partial(act, channel, getattr(channel, name)))


def consume_though_full() -> None:
    """Have every channel of this process declare what it consumes from, whether or not it is."""
    for name, act in _DECLARING.items():
        setattr(Channel, name, _method(act, getattr(Channel, name)))


def _method(act: Act, own: Act) -> Act:
    def method(channel: Any, *args: Any, **options: Any) -> Any:
        return act(channel, partial(own, channel), *args, **options)

    return method


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


def _run(channel: Any, script: str, key: str, value: str) -> None:
    with channel.conn_or_acquire() as client:
        client.evalsha(client.script_load(script), 1, key, value)


def _client(_channel: Any, create: Act, **options: Any) -> Any:
    """A client whose transactions do what they can, and whose bindings are refreshed."""
    client = create(**options)
    pipeline, register = client.pipeline, client.register_script

    def register_script(text: str) -> Any:
        # What refreshes a binding, and not what releases a lock.
        is_binding = text.lstrip().startswith("redis.call('SADD'")
        return register(_MAY_WRITE + text if is_binding else text)

    def start_pipeline(*args: Any, **settings: Any) -> Any:
        started = pipeline(*args, **settings)
        started.execute = partial(_execute, started, started.execute)
        return started

    client.register_script, client.pipeline = register_script, start_pipeline
    return client


def _execute(pipeline: Any, execute: Act, *args: Any) -> Any:
    """*pipeline*'s commands: in a transaction if there is room, else each by itself."""
    kept = pipeline.command_stack, pipeline.scripts
    try:
        return execute(*args)
    except redis.exceptions.OutOfMemoryError:
        if not pipeline.transaction:
            raise
        pipeline.transaction = False
        pipeline.command_stack, pipeline.scripts = kept
        return execute(*args)


#: What stands in for kombu's own.
_DECLARING: dict[str, Act] = {"_queue_bind": _bind, "_create_client": _client}
