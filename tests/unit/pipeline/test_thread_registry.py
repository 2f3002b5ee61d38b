"""Opaque ids for call chains, with and without a shared backend."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from backends import InMemoryBackend
from pipeline import ThreadRegistry, UnknownThreadError, get_registry
from pipeline.thread_registry import use_registry


@pytest.fixture(params=["alone", "shared"])
def registry(request: pytest.FixtureRequest) -> Iterator[ThreadRegistry]:
    """One of this process's own, and one over a backend."""
    if request.param == "alone":
        yield ThreadRegistry()
        return
    backend = InMemoryBackend()
    yield ThreadRegistry(backend)
    backend.close()


def test_it_knows_whether_it_is_shared() -> None:
    """`is_shared` tells a registry over a backend from one of its own."""
    assert ThreadRegistry(InMemoryBackend()).is_shared
    assert not ThreadRegistry().is_shared


def test_the_root_is_registered_once(registry: ThreadRegistry) -> None:
    """Conversations start below it; asking again changes nothing."""
    root = registry.initialize_root("demo")
    assert root == registry.initialize_root("other") == registry.root_uuid
    assert registry.root_chain == "system.demo" == registry.lookup(root)


def test_a_chain_has_one_id(registry: ThreadRegistry) -> None:
    """Asked for twice, created once; unknown ids have no chain."""
    uuid = registry.get_or_create("a.b")
    assert registry.get_or_create("a.b") == uuid
    assert registry.lookup(uuid) == "a.b"
    assert registry.lookup("nobody") is None
    assert registry.debug_dump() == {uuid: "a.b"}


def test_a_forward_extends_and_an_answer_prunes(registry: ThreadRegistry) -> None:
    """Out along the chain and back the same way, to the same threads."""
    first = registry.start_chain("console", "router")
    second = registry.extend_chain(first, "calculator.add")
    third = registry.extend_chain(second, "store")
    assert len({first, second, third}) == 3
    assert registry.extend_chain(first, "calculator.add") == second
    assert registry.prune_for_response(third) == ("calculator.add", second)
    assert registry.prune_for_response(second) == ("router", first)
    target, outside = registry.prune_for_response(first)
    assert target == "console"
    assert outside is not None
    assert registry.prune_for_response(outside) == (None, None)
    assert registry.prune_for_response("nobody") == (None, None)


def test_the_root_is_nobodys_caller(registry: ThreadRegistry) -> None:
    """The way back ends with who asked."""
    registry.initialize_root()
    thread = registry.start_chain("console", "router")
    target, outside = registry.prune_for_response(thread)
    assert target == "console"
    assert outside is not None
    assert registry.prune_for_response(outside) == (None, None)


def test_equal_paths_are_different_threads(registry: ThreadRegistry) -> None:
    """Two conversations that walk the same way never share a thread."""
    registry.initialize_root()
    one, other = (registry.start_chain("console", "router") for _ in range(2))
    assert one != other
    assert registry.extend_chain(one, "x") != registry.extend_chain(other, "x")
    assert registry.prune_for_response(one) != registry.prune_for_response(other)
    assert str(registry.lookup(one)).endswith(".console.router")


def test_onward_from_the_caller_is_another_thread(registry: ThreadRegistry) -> None:
    """Who asked may go on to somebody else without taking the first thread's id."""
    first = registry.start_chain("console", "router")
    _, outside = registry.prune_for_response(first)
    assert outside is not None
    second = registry.extend_chain(outside, "other")
    assert second != first
    assert registry.lookup(first) is not None


def test_a_thread_may_come_with_its_id(registry: ThreadRegistry) -> None:
    """`register_thread` returns the id it was given; a registered one keeps its chain."""
    assert registry.register_thread("t.1@x", "console", "router") == "t.1@x"
    chain = registry.lookup("t.1@x")
    assert registry.register_thread("t.1@x", "other", "elsewhere") == "t.1@x"
    assert registry.lookup("t.1@x") == chain
    assert registry.prune_for_response("t.1@x")[0] == "console"


def test_an_unknown_thread_cannot_be_extended(registry: ThreadRegistry) -> None:
    """It may have expired; the way back would be lost in silence."""
    with pytest.raises(UnknownThreadError, match="'nobody' is not registered"):
        registry.extend_chain("nobody", "x")


def test_cleanup_forgets_both_directions(registry: ThreadRegistry) -> None:
    """One thread, or all of them."""
    registry.initialize_root("demo")
    uuid = registry.get_or_create("a.b")
    registry.cleanup(uuid)
    registry.cleanup(uuid)
    assert registry.lookup(uuid) is None
    registry.clear()
    assert registry.debug_dump() == {}
    assert registry.root_uuid is None


def test_many_threads_that_meet_a_chain_agree(registry: ThreadRegistry) -> None:
    """No lock, one id."""
    gate = Barrier(8)

    def ask(_: int) -> str:
        gate.wait()
        return registry.get_or_create("met.at.once")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_the_process_has_one_at_hand() -> None:
    """Outside of any pump, and as set."""
    use_registry(None)
    assert get_registry() is get_registry()
    mine = ThreadRegistry()
    use_registry(mine)
    assert get_registry() is mine
    use_registry(None)
