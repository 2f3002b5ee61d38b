"""Lets what is accepted reach the workers though Redis has no memory to spare.

What waits to be published is what fills it: were that refused, none would ever be freed. Redis
refuses each command that may need memory, and in a transaction all others too, reading included. In
a script it refuses the former alone, and those only until the script has written anything.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from kombu.transport.redis import Channel, QoS
from kombu.utils.json import dumps

from backends.redis.refusals import refusal_in

#: Runs commands one after the other. KEYS: one that never is. ARGV: how many words the next command
#: has, and these.
_AT_ONCE = """
redis.call('DEL', KEYS[1])
local found, at = {}, 1
while at < #ARGV do
  local last = at + tonumber(ARGV[at])
  found[#found + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return found
"""
_NO_KEY = "_kombu.none"
#: Of the queues that answers to monitors are put into, as kombu names them.
_REPLIES = ".reply.celery.pidbox"

Act = Callable[..., Any]


def publish_though_full(channel: Any) -> None:
    """Have *channel*, if it is one of kombu's to Redis, publish whether or not memory is full."""
    if isinstance(channel, Channel):
        for name, act in (("_create_client", _client), ("_put", _put)):
            setattr(channel, name, partial(act, channel, getattr(channel, name)))


def consume_though_full() -> None:
    """Have every channel of this process consume, and answer monitors, whether or not it is."""
    _replace(Channel, "_create_client", _client)
    _replace(Channel, "_put", _put_reply)
    _replace(Channel, "maybe_refresh_binding_expiry", _in_its_time)
    _replace(QoS, "restore_visible", _in_its_time)


def _replace(owner: type, name: str, act: Act) -> None:
    own = getattr(owner, name)

    def method(self: Any, *args: Any, **options: Any) -> Any:
        return act(self, partial(own, self), *args, **options)

    setattr(owner, name, method)


def _put(channel: Any, put: Act, queue: str, message: dict[str, Any], **options: Any) -> None:
    try:
        put(queue, message, **options)
    except redis.exceptions.OutOfMemoryError:
        priority = channel._get_message_priority(message, reverse=False)
        with channel.conn_or_acquire() as client, client.pipeline() as pipeline:
            pipeline.lpush(channel._q_for_pri(queue, priority), dumps(message))
            pipeline.execute()


def _put_reply(channel: Any, put: Act, queue: str, *message: Any, **options: Any) -> None:
    # What handlers send is not ours to let in.
    if queue.endswith(_REPLIES):
        _put(channel, put, queue, *message, **options)
    else:
        put(queue, *message, **options)


def _in_its_time(_owner: Any, act: Act, **options: int) -> None:
    """What is done now and then; while it is refused, which others say, at another time."""
    try:
        act(**options)
    except redis.RedisError as exc:
        if refusal_in(exc) is None:
            raise


def _client(_channel: Any, create: Act, **options: Any) -> Any:
    """A client whose transactions run, and that binds what expires, though memory is full."""
    client = create(**options)
    pipeline, register = client.pipeline, client.register_script

    def register_script(text: str) -> Any:
        # What binds, and not what releases a lock. No such set ever expires.
        is_binding = text.lstrip().startswith("redis.call('SADD'")
        return register("redis.call('PERSIST', KEYS[1]) " + text if is_binding else text)

    def start_pipeline(*args: Any, **settings: Any) -> Any:
        started = pipeline(*args, **settings)
        started.execute = partial(_execute, client, started, started.execute)
        return started

    client.register_script, client.pipeline = register_script, start_pipeline
    return client


def _execute(client: Any, pipeline: Any, execute: Act, **options: bool) -> Any:
    """*pipeline*'s commands: in a transaction if there is room, else in a script."""
    commands = [words for words, _ in pipeline.command_stack]
    # No script runs another, or is undone by what somebody else does meanwhile.
    is_plain = pipeline.transaction and not pipeline.watching and not pipeline.scripts
    try:
        return execute(**options)
    except redis.exceptions.OutOfMemoryError:
        if not is_plain:
            raise
    counted = [word for words in commands for word in (len(words), *words)]
    return client.evalsha(client.script_load(_AT_ONCE), 1, _NO_KEY, *counted)
