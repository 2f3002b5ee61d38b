"""Any sequence of operations leaves every backend as it leaves a plain dict."""

from typing import Any, ClassVar
from uuid import uuid4

import fakeredis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backends import (
    BackendConfig,
    BufferFullError,
    InMemoryBackend,
    ManagerBackend,
    RedisBackend,
    ThreadLimitError,
)
from backends.chains import callers
from backends.protocol import Backend, SlotRecord
from tests.machines import run_machine
from tests.servers import RedisServer

MAX_SLOTS, MAX_THREADS, TTL_S = 3, 3, 10.0

ids = st.sampled_from(["", "a", "b:", "ü", "^"])
links = st.sampled_from(["", "r", "r.s", "r.s.#m.t", "r.@7.x", "r.@7.x.y:z", "ö.#q"])
slots = st.binary(max_size=3)


def names_each_chain_once(batch: list[SlotRecord]) -> bool:
    """No thread stands for two chains."""
    return len({(slot.thread_id, slot.chain) for slot in batch}) == len(
        {slot.thread_id for slot in batch}
    )


records = st.lists(st.builds(SlotRecord, ids, links, slots), max_size=4).filter(
    names_each_chain_once
)


class Model:
    """The contract in its plainest form."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slots: dict[str, list[bytes]] = {}
        self.chains: dict[str, str] = {}
        self.ends: dict[str, float] = {}

    def elapse(self, seconds: float) -> None:
        self.now += seconds
        for thread_id in [known for known, end in self.ends.items() if end <= self.now]:
            self.forget(thread_id)

    def link(self, chain: str, uuid: str) -> None:
        self.chains = {u: c for u, c in self.chains.items() if c != chain and u != uuid}
        self.chains[uuid] = chain

    def touch(self, thread_id: str) -> None:
        self.ends[thread_id] = self.now + TTL_S
        above = callers(self.chains.get(thread_id, ""))
        for uuid, chain in self.chains.items():
            if chain in above:
                self.ends[uuid] = self.now + TTL_S

    def forget(self, thread_id: str) -> None:
        self.slots.pop(thread_id, None)
        self.chains.pop(thread_id, None)
        self.ends.pop(thread_id, None)


class BackendMachine(RuleBasedStateMachine):
    """Drives a backend and the model side by side."""

    backend: Backend
    can_elapse: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.backend = self.open(
            BackendConfig(
                redis_ttl=TTL_S if self.can_elapse else 3600,
                redis_prefix=f"test-{uuid4().hex}:",
                max_slots_per_thread=MAX_SLOTS,
                max_threads=MAX_THREADS,
            )
        )

    def open(self, config: BackendConfig) -> Backend:
        raise NotImplementedError

    def teardown(self) -> None:
        self.backend.buffer_clear()
        self.backend.registry_clear()
        self.backend.close()

    @rule(thread_id=ids, slot=slots)
    def append(self, thread_id: str, slot: bytes) -> None:
        known = self.model.slots.get(thread_id, [])
        if not known and len(self.model.slots) >= MAX_THREADS:
            with pytest.raises(ThreadLimitError):
                self.backend.buffer_append(thread_id, slot)
        elif len(known) >= MAX_SLOTS:
            with pytest.raises(BufferFullError):
                self.backend.buffer_append(thread_id, slot)
        else:
            assert self.backend.buffer_append(thread_id, slot) == len(known)
            self.model.slots[thread_id] = [*known, slot]
            self.model.touch(thread_id)

    @rule(batch=records)
    def record(self, batch: list[SlotRecord]) -> None:
        after = {thread_id: list(known) for thread_id, known in self.model.slots.items()}
        indices = []
        for slot in batch:
            indices.append(len(after.setdefault(slot.thread_id, [])))
            after[slot.thread_id].append(slot.data)
        if any(index >= MAX_SLOTS for index in indices):
            with pytest.raises(BufferFullError):
                self.backend.record(batch)
            return
        assert self.backend.record(batch) == indices
        self.model.slots = after
        for slot in batch:
            self.model.link(slot.chain, slot.thread_id)
        for slot in batch:
            self.model.touch(slot.thread_id)

    @rule(chain=links, uuid=ids)
    def link(self, chain: str, uuid: str) -> None:
        self.backend.registry_set(chain, uuid)
        self.model.link(chain, uuid)
        self.model.touch(uuid)

    @rule(uuid=ids)
    def unlink(self, uuid: str) -> None:
        assert self.backend.registry_delete(uuid) == (self.model.chains.pop(uuid, None) is not None)

    @rule(thread_id=ids)
    def delete(self, thread_id: str) -> None:
        was_there = self.model.slots.pop(thread_id, None) is not None
        assert self.backend.buffer_delete_thread(thread_id) == was_there

    @rule(thread_ids=st.lists(ids, max_size=3))
    def forget(self, thread_ids: list[str]) -> None:
        self.backend.forget(thread_ids)
        for thread_id in thread_ids:
            self.model.forget(thread_id)

    @rule(thread_ids=st.lists(ids, max_size=3))
    def refresh(self, thread_ids: list[str]) -> None:
        self.backend.refresh(thread_ids)
        for thread_id in thread_ids:
            self.model.ends[thread_id] = self.model.now + TTL_S

    @rule()
    def clear_buffers(self) -> None:
        self.backend.buffer_clear()
        self.model.slots.clear()

    @rule()
    def clear_registry(self) -> None:
        self.backend.registry_clear()
        self.model.chains.clear()

    @invariant()
    def buffers_agree(self) -> None:
        assert sorted(self.backend.buffer_list_threads()) == sorted(self.model.slots)
        for thread_id, expected in self.model.slots.items():
            assert self.backend.buffer_get_thread(thread_id) == expected
            assert self.backend.buffer_thread_len(thread_id) == len(expected)
            assert self.backend.buffer_get_slot(thread_id, 0) == expected[0]

    @invariant()
    def registries_agree(self) -> None:
        assert self.backend.registry_list_all() == self.model.chains
        for uuid, chain in self.model.chains.items():
            assert self.backend.registry_get_uuid(chain) == uuid
            assert self.backend.registry_get_chain(uuid) == chain

    @invariant()
    def counts_agree(self) -> None:
        info = self.backend.info()
        assert info["buffer_threads"] == len(self.model.slots)
        assert info["registry_entries"] == len(self.model.chains)


def test_memory_behaves_like_the_model() -> None:
    """The in-memory backend, time included."""

    class MemoryMachine(BackendMachine):
        can_elapse = True

        def open(self, config: BackendConfig) -> Backend:
            return InMemoryBackend(config, clock=lambda: self.model.now)

        # No sum of these falls into the moment by which a thread may outlive its time.
        @rule(seconds=st.sampled_from([3.0, 6.0, 9.0, 12.0]))
        def elapse(self, seconds: float) -> None:
            self.model.elapse(seconds)

    run_machine(MemoryMachine, examples=150, steps=40)


def test_manager_behaves_like_the_model() -> None:
    """The Manager backend, with one server for all sequences."""
    server = ManagerBackend()
    lent = server.lend()

    class ManagerMachine(BackendMachine):
        def open(self, config: BackendConfig) -> Backend:
            return ManagerBackend(
                BackendConfig(
                    manager_address=lent.manager_address,
                    manager_authkey=lent.manager_authkey,
                    max_slots_per_thread=config.max_slots_per_thread,
                    max_threads=config.max_threads,
                )
            )

    try:
        run_machine(ManagerMachine, examples=25, steps=20)
    finally:
        server.close()


def test_fakeredis_behaves_like_the_model() -> None:
    """The Redis backend over fakeredis."""
    client = fakeredis.FakeRedis()

    class FakeRedisMachine(BackendMachine):
        def open(self, config: BackendConfig) -> Backend:
            return RedisBackend.from_config(config, client=client)

    run_machine(FakeRedisMachine, examples=15, steps=20)
    client.close()


def test_redis_behaves_like_the_model(redis_server: RedisServer) -> None:
    """The Redis backend over a real server."""

    class RedisMachine(BackendMachine):
        def open(self, config: BackendConfig) -> Backend:
            options: dict[str, Any] = {
                "url": redis_server.url,
                "prefix": config.redis_prefix,
                "ttl": config.redis_ttl,
            }
            return RedisBackend(
                **options,
                max_slots_per_thread=config.max_slots_per_thread,
                max_threads=config.max_threads,
            )

    run_machine(RedisMachine, examples=25, steps=20)
