"""What every shared backend must do; one suite for all of them."""

from collections.abc import Callable

import pytest

from backends import BackendClosedError, BufferFullError, SharedBackend, ThreadLimitError
from backends.chains import callers
from backends.protocol import Backend, SlotRecord
from tests.conformance.backend_hooks import (
    CHAINS,
    SLOTS_PER_WRITER,
    WRITERS,
    BackendHooks,
    OpenBackend,
    append_slots,
    fill_thread,
    open_threads,
    relink,
)
from tests.waiting import eventually

AWKWARD_IDS = ["", ":", "^", "^_", "a:b", "i:threads", "%3A", "naïve-線程-🧵", "a b\n", "*?[x]"]


class SharedBackendContract(BackendHooks):
    """Every promise of `SharedBackend` and `ConversationStore`, time included."""

    # -- the contract itself

    def test_it_is_a_shared_backend(self, backend: Backend) -> None:
        """Every implementation satisfies the runtime-checkable protocol."""
        assert isinstance(backend, SharedBackend)

    # -- buffers

    def test_append_returns_the_index(self, backend: Backend) -> None:
        """Slots of a thread are numbered from 0, each thread on its own."""
        assert [backend.buffer_append("a", b"x") for _ in range(3)] == [0, 1, 2]
        assert backend.buffer_append("b", b"x") == 0

    def test_slots_come_back_in_order(self, backend: Backend) -> None:
        """A thread reads as it was written, byte for byte."""
        slots = [b"", b"\x00\xff\xfe", bytes(range(256)), "ünï".encode(), b"=link", b""]
        for slot in slots:
            backend.buffer_append("a", slot)
        assert backend.buffer_get_thread("a") == slots
        assert [backend.buffer_get_slot("a", n) for n in range(len(slots))] == slots
        assert backend.buffer_thread_len("a") == len(slots)
        assert backend.buffer_thread_exists("a")

    def test_an_unknown_thread_is_empty(self, backend: Backend) -> None:
        """Asking for what never was is no error."""
        assert self.is_gone(backend, "never")
        assert not backend.buffer_delete_thread("never")

    @pytest.mark.parametrize("index", [-1, -2, 2, 10**6, 2**32, 2**64, -(2**64)])
    def test_an_index_out_of_range_is_none(self, backend: Backend, index: int) -> None:
        """Negative indices don't count from the end, huge ones are no error."""
        backend.buffer_append("a", b"0")
        backend.buffer_append("a", b"1")
        assert backend.buffer_get_slot("a", index) is None

    def test_a_slot_may_have_8_mib(self, backend: Backend) -> None:
        """Large slots are stored whole, one by one and in a batch."""
        large = bytes(range(256)) * (8 * 4096)
        assert backend.buffer_append("a", large) == 0
        assert backend.record([SlotRecord("a", "chain", large)]) == [1]
        assert backend.buffer_get_slot("a", 1) == large
        assert backend.buffer_get_thread("a") == [large, large]

    def test_a_deleted_thread_begins_anew(self, backend: Backend) -> None:
        """Deleting says whether there was anything, and keeps the registry entry."""
        backend.registry_set("chain", "a")
        backend.buffer_append("a", b"x")
        assert backend.buffer_delete_thread("a")
        assert not backend.buffer_delete_thread("a")
        assert not backend.buffer_thread_exists("a")
        assert backend.buffer_list_threads() == []
        assert backend.registry_get_chain("a") == "chain"
        assert backend.registry_get_uuid("chain") == "a"
        assert backend.buffer_append("a", b"y") == 0

    def test_threads_are_listed_by_id(self, backend: Backend) -> None:
        """The list holds ids alone, of threads with slots, whatever the ids look like."""
        for thread_id in AWKWARD_IDS:
            backend.buffer_append(thread_id, thread_id.encode())
        backend.registry_set("linked only", "no slots")
        assert sorted(backend.buffer_list_threads()) == sorted(AWKWARD_IDS)
        for thread_id in AWKWARD_IDS:
            assert backend.buffer_get_thread(thread_id) == [thread_id.encode()]

    def test_clearing_buffers_spares_the_registry(self, backend: Backend) -> None:
        """`buffer_clear` deletes every slot and nothing else."""
        backend.record([SlotRecord("a", "chain", b"x")])
        backend.buffer_append("b", b"x")
        backend.buffer_clear()
        assert backend.buffer_list_threads() == []
        assert backend.registry_list_all() == {"a": "chain"}
        assert backend.buffer_append("a", b"x") == 0

    # -- registry

    def test_a_link_reads_both_ways(self, backend: Backend) -> None:
        """A chain and a uuid find each other, whatever they look like."""
        links = {f"u{text}": f"c{text}" for text in AWKWARD_IDS} | {"": ""}
        for uuid, chain in links.items():
            backend.registry_set(chain, uuid)
        assert backend.registry_list_all() == links
        for uuid, chain in links.items():
            assert backend.registry_get_chain(uuid) == chain
            assert backend.registry_get_uuid(chain) == uuid

    def test_an_unknown_link_is_none(self, backend: Backend) -> None:
        """Asking for what was never linked is no error."""
        assert backend.registry_get_uuid("never") is None
        assert backend.registry_get_chain("never") is None
        assert not backend.registry_delete("never")
        assert backend.registry_list_all() == {}

    def test_relinking_a_chain_frees_its_uuid(self, backend: Backend) -> None:
        """A chain has one uuid: the former one is unlinked in the same step."""
        backend.registry_set("chain", "old")
        backend.registry_set("chain", "new")
        assert backend.registry_get_uuid("chain") == "new"
        assert backend.registry_get_chain("old") is None
        assert backend.registry_list_all() == {"new": "chain"}

    def test_relinking_a_uuid_frees_its_chain(self, backend: Backend) -> None:
        """A uuid has one chain: the former one is unlinked in the same step."""
        backend.registry_set("old", "uuid")
        backend.registry_set("new", "uuid")
        assert backend.registry_get_chain("uuid") == "new"
        assert backend.registry_get_uuid("old") is None
        assert backend.registry_list_all() == {"uuid": "new"}

    def test_two_links_can_become_one(self, backend: Backend) -> None:
        """Linking partners of two links frees both others; slots stay with their thread."""
        backend.record([SlotRecord("a", "x", b"a"), SlotRecord("b", "y", b"b")])
        backend.registry_set("y", "a")
        assert backend.registry_list_all() == {"a": "y"}
        assert backend.registry_get_uuid("x") is None
        assert backend.buffer_get_thread("a") == [b"a"]
        assert backend.buffer_get_thread("b") == [b"b"]

    def test_linking_again_changes_nothing(self, backend: Backend) -> None:
        """The same link twice is one link."""
        backend.registry_set("chain", "uuid")
        backend.registry_set("chain", "uuid")
        assert backend.registry_list_all() == {"uuid": "chain"}

    def test_a_deleted_link_is_gone_both_ways(self, backend: Backend) -> None:
        """Deleting says whether there was a link, and keeps the slots."""
        backend.record([SlotRecord("a", "chain", b"x")])
        assert backend.registry_delete("a")
        assert not backend.registry_delete("a")
        assert backend.registry_get_uuid("chain") is None
        assert backend.registry_get_chain("a") is None
        assert backend.buffer_get_thread("a") == [b"x"]

    def test_clearing_the_registry_spares_buffers(self, backend: Backend) -> None:
        """`registry_clear` deletes every link and nothing else."""
        backend.record([SlotRecord("a", "chain", b"x")])
        backend.registry_set("other", "b")
        backend.registry_clear()
        assert backend.registry_list_all() == {}
        assert backend.registry_get_uuid("chain") is None
        assert backend.buffer_get_thread("a") == [b"x"]

    # -- limits

    def test_a_full_thread_takes_no_more(self, open_backend: OpenBackend) -> None:
        """Over `max_slots_per_thread` is a `BufferFullError`, also a `MemoryError`."""
        backend = open_backend(max_slots_per_thread=2, redis_ttl=3600)
        backend.buffer_append("a", b"0")
        backend.buffer_append("a", b"1")
        with pytest.raises(BufferFullError, match="max_slots_per_thread is 2") as caught:
            backend.buffer_append("a", b"2")
        assert isinstance(caught.value, MemoryError)
        assert backend.buffer_get_thread("a") == [b"0", b"1"]
        assert backend.buffer_append("b", b"0") == 0

    def test_no_more_threads_than_allowed(self, open_backend: OpenBackend) -> None:
        """A new thread over `max_threads` is refused; those that have slots go on."""
        backend = open_backend(max_threads=2, redis_ttl=3600)
        backend.registry_set("linked", "without slots does not count")
        backend.buffer_append("a", b"0")
        backend.buffer_append("b", b"0")
        with pytest.raises(ThreadLimitError, match="max_threads is 2"):
            backend.buffer_append("c", b"0")
        assert not backend.buffer_thread_exists("c")
        assert backend.buffer_append("a", b"1") == 1
        backend.buffer_delete_thread("b")
        assert backend.buffer_append("c", b"0") == 0

    # -- concurrency

    def test_concurrent_writers_share_the_indices(self, backend: Backend) -> None:
        """N concurrent writers get exactly 0..N-1, each index the slot written with it."""
        results = self.in_parallel(backend, append_slots)
        written = dict(pair for result in results for pair in result)
        assert sorted(written) == list(range(WRITERS * SLOTS_PER_WRITER))
        assert backend.buffer_get_thread("shared") == [written[n] for n in range(len(written))]

    def test_the_thread_limit_holds_under_concurrency(self, open_backend: OpenBackend) -> None:
        """Writers that race for the last thread don't pass it together."""
        backend = open_backend(max_threads=7, redis_ttl=3600)
        assert sum(self.in_parallel(backend, open_threads)) == 7
        assert len(backend.buffer_list_threads()) == 7

    def test_the_slot_limit_holds_under_concurrency(self, open_backend: OpenBackend) -> None:
        """Writers that race for the last slot don't pass it together."""
        backend = open_backend(max_slots_per_thread=17, redis_ttl=3600)
        assert sum(self.in_parallel(backend, fill_thread)) == 17
        assert backend.buffer_thread_len("shared") == 17

    def test_the_registry_stays_a_bijection(self, backend: Backend) -> None:
        """However writers make and delete links, both directions agree and nothing dangles."""
        self.in_parallel(backend, relink)
        backend.registry_set(CHAINS[0], "uuid-0")
        links = backend.registry_list_all()
        by_chain = {chain: backend.registry_get_uuid(chain) for chain in CHAINS}
        assert {uuid: chain for chain, uuid in by_chain.items() if uuid is not None} == links
        for uuid, chain in links.items():
            assert backend.registry_get_chain(uuid) == chain

    # -- time

    def test_an_unwritten_thread_is_gone(self, mortal: Backend) -> None:
        """After the time to live, and a little more, buffer and registry entries end together."""
        mortal.record([SlotRecord("a", "chain", b"x")])
        mortal.buffer_append("unlinked", b"x")
        mortal.registry_set("slotless chain", "slotless")
        self.elapse(self.ttl_s * 1.02)
        assert eventually(lambda: self.is_gone(mortal, "a"))
        assert eventually(lambda: self.is_gone(mortal, "unlinked"))
        assert eventually(lambda: self.is_gone(mortal, "slotless"))
        assert mortal.registry_get_uuid("chain") is None
        assert mortal.info()["buffer_threads"] == mortal.info()["registry_entries"] == 0
        assert mortal.buffer_append("a", b"y") == 0
        assert mortal.registry_get_chain("a") is None

    def test_a_slot_refreshes_its_thread_and_its_callers(self, mortal: Backend) -> None:
        """A live conversation never loses its way back; what it does not touch ends."""
        chain = "system.demo.@7.external.auditor.#1.analyzer"
        line = [chain, *callers(chain)]
        mortal.record([SlotRecord(f"u{n}", link, b"x") for n, link in enumerate(line)])
        mortal.record([SlotRecord("aside", "system.demo.@7.external.other", b"x")])
        self.elapse(self.ttl_s * 0.6)
        mortal.buffer_append("u0", b"y")
        self.elapse(self.ttl_s * 0.6)
        for n, link in enumerate(line):
            assert mortal.registry_get_uuid(link) == f"u{n}"
            assert mortal.registry_get_chain(f"u{n}") == link
            assert mortal.buffer_thread_exists(f"u{n}")
        assert self.is_gone(mortal, "aside")
        self.elapse(self.ttl_s * 0.6)
        assert eventually(lambda: all(self.is_gone(mortal, f"u{n}") for n in range(len(line))))

    def test_a_link_refreshes_its_thread_and_its_callers(self, mortal: Backend) -> None:
        """`registry_set` is a write too; reading is none."""
        for thread_id, link in (("caller", "a"), ("callee", "a.b"), ("read", "r")):
            mortal.record([SlotRecord(thread_id, link, b"x")])
        self.elapse(self.ttl_s * 0.6)
        mortal.registry_set("a.b", "callee")
        mortal.buffer_get_thread("read")
        mortal.registry_get_uuid("r")
        self.elapse(self.ttl_s * 0.6)
        assert mortal.buffer_thread_exists("caller")
        assert mortal.buffer_thread_exists("callee")
        assert self.is_gone(mortal, "read")

    def test_refresh_starts_time_anew(self, mortal: Backend) -> None:
        """What is refreshed lives on; unknown threads are passed over, not made."""
        mortal.record([SlotRecord("a", "chain", b"x"), SlotRecord("b", "other", b"x")])
        self.elapse(self.ttl_s * 0.6)
        mortal.refresh(["a", "never"])
        mortal.refresh([])
        self.elapse(self.ttl_s * 0.6)
        assert mortal.buffer_get_thread("a") == [b"x"]
        assert mortal.registry_get_uuid("chain") == "a"
        assert self.is_gone(mortal, "b")
        assert self.is_gone(mortal, "never")

    def test_zero_is_for_ever(self, open_backend: OpenBackend) -> None:
        """With a time to live of 0 nothing ends."""
        backend = open_backend(redis_ttl=0)
        backend.record([SlotRecord("a", "chain", b"x")])
        backend.registry_set("other", "b")
        self.elapse(self.ttl_s)
        assert backend.buffer_get_thread("a") == [b"x"]
        assert backend.registry_list_all() == {"a": "chain", "b": "other"}
        assert backend.info()["ttl_seconds"] == 0

    def test_ended_threads_make_room(self, open_backend: OpenBackend) -> None:
        """`max_threads` counts what lives, not what was."""
        backend = open_backend(max_threads=1)
        backend.buffer_append("a", b"x")
        self.elapse(self.ttl_s)
        assert eventually(lambda: open_threads(backend, 1) == 1)

    # -- the conversation store

    def test_record_writes_slots_and_links(self, backend: Backend) -> None:
        """One call appends to several threads and links each; indices in order."""
        slots = [
            SlotRecord("a", "x", b"0"),
            SlotRecord("b", "x.y", b"0"),
            SlotRecord("a", "x", b"1"),
        ]
        assert backend.record(slots) == [0, 0, 1]
        assert backend.record([]) == []
        assert backend.buffer_get_thread("a") == [b"0", b"1"]
        assert backend.registry_list_all() == {"a": "x", "b": "x.y"}

    def test_record_is_all_or_nothing(self, open_backend: OpenBackend) -> None:
        """When one thread has no room, no slot is written and no link made."""
        backend = open_backend(max_slots_per_thread=2, redis_ttl=3600)
        backend.record([SlotRecord("a", "x", b"0")])
        over = [SlotRecord("b", "y", b"0"), *[SlotRecord("a", "z", b"1")] * 2]
        with pytest.raises(BufferFullError):
            backend.record(over)
        assert backend.buffer_get_thread("a") == [b"0"]
        assert backend.buffer_list_threads() == ["a"]
        assert backend.registry_list_all() == {"a": "x"}

    def test_record_is_not_bound_by_max_threads(self, open_backend: OpenBackend) -> None:
        """The pump bounds conversations at its door, so its threads are admitted."""
        backend = open_backend(max_threads=1, redis_ttl=3600)
        backend.record([SlotRecord(f"t{n}", f"c{n}", b"") for n in range(3)])
        assert len(backend.buffer_list_threads()) == 3

    def test_forget_deletes_slots_and_links(self, backend: Backend) -> None:
        """Nothing of a forgotten thread is left; others stay."""
        backend.record([SlotRecord(f"t{n}", f"c{n}", b"x") for n in range(3)])
        backend.registry_set("slotless", "u")
        backend.buffer_append("unlinked", b"x")
        backend.forget(["t0", "t1", "u", "unlinked", "never"])
        backend.forget([])
        for thread_id in ("t0", "t1", "u", "unlinked"):
            assert self.is_gone(backend, thread_id)
        assert backend.registry_list_all() == {"t2": "c2"}
        assert backend.buffer_list_threads() == ["t2"]

    # -- life

    def test_info_counts(self, backend: Backend) -> None:
        """`info` names the backend and tells how much it holds."""
        backend.record([SlotRecord("a", "x", b"0")])
        backend.buffer_append("b", b"0")
        backend.registry_set("y", "c")
        info = backend.info()
        assert info["backend_type"] in {"memory", "manager", "redis"}
        assert (info["buffer_threads"], info["registry_entries"]) == (2, 2)
        assert info["ttl_seconds"] == 3600

    def test_close_ends_it(self, open_backend: OpenBackend) -> None:
        """Closing twice is fine; every later use says that it is closed."""
        backend = open_backend()
        assert backend.ping()
        backend.close()
        backend.close()
        assert not backend.ping()
        for use in uses_of(backend):
            with pytest.raises(BackendClosedError):
                use()


def uses_of(backend: Backend) -> list[Callable[[], object]]:
    """Every method but `ping` and `close`, ready to call."""
    return [
        lambda: backend.buffer_append("a", b""),
        lambda: backend.buffer_get_thread("a"),
        lambda: backend.buffer_get_slot("a", 0),
        lambda: backend.buffer_get_slot("a", -1),
        lambda: backend.buffer_thread_len("a"),
        lambda: backend.buffer_thread_exists("a"),
        lambda: backend.buffer_delete_thread("a"),
        backend.buffer_list_threads,
        backend.buffer_clear,
        lambda: backend.registry_set("c", "a"),
        lambda: backend.registry_get_uuid("c"),
        lambda: backend.registry_get_chain("a"),
        lambda: backend.registry_delete("a"),
        backend.registry_list_all,
        backend.registry_clear,
        backend.info,
        backend.lend,
        lambda: backend.record([]),
        lambda: backend.record([SlotRecord("a", "c", b"")]),
        lambda: backend.refresh(["a"]),
        lambda: backend.forget(["a"]),
    ]
