"""What somebody would send who keeps threads and links in Redis by hand, and promises nothing.

No limit, no time to live, no refreshed caller, no bijection: a list for each thread, two strings
for each link, an index of each. So this is less than what `RedisBackend` does, not the same.
"""

from collections.abc import Callable
from typing import Any

import redis

#: An operation's name to its commands, for *client* (or a pipeline) and a number.
Bare = Callable[[Any, int], object]

SLOT = b"x" * 200
#: Threads and links that are there from the beginning, and slots of each thread.
THREADS, SLOTS = 100, 20


def thread_id(number: int) -> str:
    """One of those that are there from the beginning."""
    return f"thread-{number % THREADS}"


def chain(number: int) -> str:
    """What the thread is linked to."""
    return f"organism.chain-{number % THREADS}"


def _append_kept(client: Any, number: int) -> None:
    name = thread_id(number)
    client.rpush(f"t:{name}", SLOT)
    client.pexpire(f"t:{name}", 86_400_000)
    client.zadd("i:threads", {name: number})


def _delete(client: Any, number: int) -> None:
    client.delete(f"t:new-{number}")
    client.zrem("i:threads", f"new-{number}")


def _set(client: Any, number: int) -> None:
    client.mset({f"c:{chain(number)}": thread_id(number), f"u:{thread_id(number)}": chain(number)})


def _unlink(client: Any, number: int) -> None:
    client.delete(f"c:new-{number}", f"u:new-{number}")


BARE: dict[str, Bare] = {
    "append": lambda client, n: client.rpush(f"t:{thread_id(n)}", SLOT),
    "append, kept": _append_kept,
    "get_thread": lambda client, n: client.lrange(f"t:{thread_id(n)}", 0, -1),
    "get_slot": lambda client, n: client.lindex(f"t:{thread_id(n)}", n % SLOTS),
    "thread_len": lambda client, n: client.llen(f"t:{thread_id(n)}"),
    "thread_exists": lambda client, n: client.exists(f"t:{thread_id(n)}"),
    "delete_thread": _delete,
    "list_threads": lambda client, _: client.zrange("i:threads", 0, -1),
    "registry_set": _set,
    "get_uuid": lambda client, n: client.get(f"c:{chain(n)}"),
    "get_chain": lambda client, n: client.get(f"u:{thread_id(n)}"),
    "registry_delete": _unlink,
    "list_all": lambda client, _: client.hgetall("links"),
    "ping": lambda client, _: client.ping(),
}


def fill(client: redis.Redis) -> None:
    """What is there from the beginning."""
    pipeline = client.pipeline(transaction=False)
    for number in range(THREADS):
        pipeline.rpush(f"t:{thread_id(number)}", *[SLOT] * SLOTS)
        pipeline.zadd("i:threads", {thread_id(number): number})
        pipeline.hset("links", thread_id(number), chain(number))
        _set(pipeline, number)
    pipeline.execute()


def prepare(client: redis.Redis, numbers: range) -> None:
    """What those operations find that delete something."""
    pipeline = client.pipeline(transaction=False)
    for number in numbers:
        pipeline.rpush(f"t:new-{number}", SLOT)
        pipeline.mset({f"c:new-{number}": "", f"u:new-{number}": ""})
    pipeline.execute()
