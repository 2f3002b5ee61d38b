"""Never run, only checked: mypy refuses this file when an implementation leaves its contract.

`pytest` passes it over, for it has no tests; an ignored error that is none is one.
"""

from typing import assert_type

import fakeredis

from backends import (
    BackendConfig,
    InMemoryBackend,
    ManagerBackend,
    RedisBackend,
    SharedBackend,
    get_shared_backend,
)
from backends.codec import Codec
from backends.mailbox import Mailbox
from backends.memory_mailbox import MemoryMailbox
from backends.protocol import Backend, ConversationStore
from pipeline import BufferSlot, ContextBuffer, HandlerResponse, StreamPump, ThreadRegistry
from pipeline.executors import Executor, InlineExecutor, ProcessPoolExecutor
from pipeline.executors.pool_child import ChildSetup
from pipeline.hops import HopObserver

config = BackendConfig()

memory: SharedBackend = InMemoryBackend()
manager: SharedBackend = ManagerBackend(config)
redis: SharedBackend = RedisBackend(url="redis://h", prefix="p:", ttl=60)
fake: SharedBackend = RedisBackend(client=fakeredis.FakeRedis())

memory_store: ConversationStore = InMemoryBackend()
manager_store: ConversationStore = ManagerBackend(config)
redis_store: ConversationStore = RedisBackend()

shared: Backend = get_shared_backend()
no_backend: SharedBackend = object()  # type: ignore[assignment]

mailbox: Mailbox = MemoryMailbox(memory_store, ttl_s=0, keep_closed=0, offload=False)
no_mailbox: Mailbox = memory  # type: ignore[assignment]

inline: Executor = InlineExecutor(Codec(), max_threads=1)
pool: Executor = ProcessPoolExecutor(
    ChildSetup(modules=(), backend=config), workers=1, max_tasks_per_child=0
)
no_executor: Executor = mailbox  # type: ignore[assignment]

pump = StreamPump(name="typed")
observer: HopObserver = pump


async def how_users_see_it() -> None:
    """Types that callers rely on."""
    assert_type(await pump.inject("desk", object()), str)
    assert_type(ContextBuffer(memory).get_thread_slots("t"), list[BufferSlot])
    assert_type(ContextBuffer().get_thread("t")[0], BufferSlot)
    assert_type(ThreadRegistry(memory).lookup("t"), str | None)
    assert_type(HandlerResponse.respond(object()), HandlerResponse)
    target, uuid = ThreadRegistry().prune_for_response("t")
    assert_type(target, str | None)
    assert_type(uuid, str | None)
