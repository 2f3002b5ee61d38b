"""The in-process store: what ends is freed, and nothing else is."""

import hypothesis.strategies as st
from hypothesis import given

from backends.chains import callers
from backends.protocol import SlotRecord
from backends.store import MemoryStore, Terms


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def terms(ttl_s: float, max_threads: int = 10**6) -> Terms:
    return Terms(ttl_s, 10**6, max_threads)


def test_what_has_ended_is_freed_by_later_writes() -> None:
    """Memory does not grow with threads that are gone, though nobody asks for them."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    for n in range(500):
        store.record([SlotRecord(f"t{n}", f"c{n}", b"x")], terms(10))
    clock.now = 11
    for _ in range(500):
        store.append("other", b"x", terms(10))
    assert set(store._threads) == {"other"}
    assert not store._linked
    assert store._filled == 1


def test_no_write_pays_for_a_whole_crowd() -> None:
    """A single write frees only some of many ended threads; a listing frees them all."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    for n in range(500):
        store.append(f"t{n}", b"x", terms(10))
    clock.now = 10
    store.append("other", b"x", terms(10))
    assert 400 < len(store._threads) < 500
    assert store.thread_ids() == ["other"]
    assert len(store._threads) == 1


def test_the_thread_limit_frees_before_it_refuses() -> None:
    """Ended threads never keep a new one out, however many there are."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    for n in range(200):
        store.append(f"t{n}", b"x", terms(10, max_threads=200))
    clock.now = 10
    assert store.append("new", b"x", terms(10, max_threads=1)) == 0


def test_what_is_forgotten_leaves_nothing() -> None:
    """A deleted thread is freed at once, not when its time would have come."""
    store = MemoryStore()
    store.record([SlotRecord("t", "c", b"x")], terms(10**6))
    store.forget(["t"])
    assert not store._threads
    assert not store._linked


def test_what_is_gone_is_struck_off() -> None:
    """The list of what will end does not grow with threads that are long gone."""
    store = MemoryStore()
    for n in range(5000):
        store.record([SlotRecord(f"t{n}", f"c{n}", b"x")], terms(10**6))
        store.forget([f"t{n - 100}"])
    assert sum(map(len, store._ending.values())) == store._listed <= 2 * 101 + 1024


def test_ends_survive_the_striking_off() -> None:
    """Who remains on the list still ends in time, written again or not."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    store.append("idle", b"x", terms(10))
    store.append("busy", b"x", terms(10))
    store.append("eternal", b"x", terms(0))
    clock.now = 5
    store.append("busy", b"y", terms(10))
    for _ in range(3000):
        store.append("brief", b"x", terms(10))
        store.delete_slots("brief")
    clock.now = 10
    assert sorted(store.thread_ids()) == ["busy", "eternal"]
    clock.now = 15
    assert store.thread_ids() == ["eternal"]


@given(st.lists(st.sampled_from(["", "a", "b", "@c", "#m"]), max_size=6), st.integers(0, 2**6))
def test_the_nearest_linked_caller_is_found(segments: list[str], linked: int) -> None:
    """Whichever part of the way is linked already, empty names and markers included."""
    store = MemoryStore()
    ways = [".".join(segments[: end + 1]) for end in range(len(segments))]
    for position, way in enumerate(["", *ways]):
        if linked >> position & 1 or position == len(ways):
            store.link(way, f"u{position}", terms(10))
            linked_callers = [each for each in callers(way) if each in store._linked]
            nearest = store._nearest_caller(way)
            assert (nearest and nearest.chain) == next(iter(linked_callers), None)


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "b", "b.c", "b.c.d"]), st.booleans(), st.integers(0, 40)),
        max_size=30,
    )
)
def test_no_thread_ends_before_what_it_has_called(steps: list[tuple[str, bool, int]]) -> None:
    """Whatever is written or linked when: a caller lives as long from that write as the thread."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    for way, is_recorded, pause_s in steps:
        clock.now += pause_s
        chain = f"a.{way}".rstrip(".")
        alive = [each for each in callers(chain) if store.uuid_of(each) is not None]
        if is_recorded:
            store.record([SlotRecord(f"u-{chain}", chain, b"x")], terms(64))
        else:
            store.link(chain, f"u-{chain}", terms(64))
        for each in [chain, *alive]:
            assert store._linked[each].ends >= clock.now + 64


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 2.0, 5.0]), st.integers(0, 3)),
        max_size=30,
    )
)
def test_clients_with_different_times_to_live(steps: list[tuple[str, float, int]]) -> None:
    """No write brings an end nearer, whichever client makes it."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    ends: dict[str, float] = {}
    for thread_id, ttl_s, pause_s in steps:
        clock.now += pause_s
        ends = {known: end for known, end in ends.items() if end > clock.now}
        store.append(thread_id, b"", terms(ttl_s))
        ends[thread_id] = max(ends.get(thread_id, 0), clock.now + ttl_s if ttl_s else float("inf"))
        assert sorted(store.thread_ids()) == sorted(ends)
