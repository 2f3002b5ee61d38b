"""Call chains: escaping, callers and derived ids."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import chains

NAMES = st.text(min_size=1, max_size=20)


@given(NAMES)
def test_any_name_is_one_hop(name: str) -> None:
    """Dots, marks and percent signs included; it comes back as it was."""
    hop = chains.escape_hop(name)
    assert "." not in hop
    assert not chains.is_marker(hop)
    assert chains.unescape_hop(hop) == name


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_callers_are_the_way_back(names: list[str]) -> None:
    """Nearest first, one for each hop before the last."""
    chain = ""
    prefixes = []
    for name in names:
        chain = chains.extend(chain, name)
        prefixes.append(chain)
    assert list(chains.callers(chain)) == prefixes[-2::-1]
    assert chains.caller_of(chain) == (prefixes[-2] if len(prefixes) > 1 else None)
    assert chains.last_hop(chain) == names[-1]


def test_markers_are_no_callers() -> None:
    """A conversation's or a member's marker belongs to the hops after it."""
    chain = chains.conversation_chain("system.demo", "t.1", "external", "auditor")
    member = chains.member_chain(chain, "m.1", "analyzer")
    assert chain == "system.demo.@t%2E1.external.auditor"
    assert member == f"{chain}.#m%2E1.analyzer"
    assert list(chains.callers(member)) == [
        chain,
        "system.demo.@t%2E1.external",
        "system.demo",
        "system",
    ]
    assert chains.caller_of(member) == chain
    assert chains.conversation_of(member) == "t.1"
    assert chains.initiator_of(member) == "external"
    assert chains.conversation_of("system.demo") is None
    assert chains.initiator_of("system.demo") is None


def test_a_very_deep_chain_is_no_trouble() -> None:
    """A conversation may be deeper than Python's stack."""
    depth = 5_000
    chain = ".".join(["hop"] * depth)
    assert len(chains.callers(chain)) == depth - 1


@pytest.mark.parametrize("chain", ["a", "a.b", "a.c", "system.x.@1.e.f", ""])
def test_a_thread_id_is_derived(chain: str) -> None:
    """A UUID, the same every time, another for every chain."""
    thread_id = chains.thread_id_of(chain)
    assert thread_id == chains.thread_id_of(chain) == str(uuid.UUID(thread_id))
    assert uuid.UUID(thread_id).variant == uuid.RFC_4122
    assert uuid.UUID(thread_id).version == 8
    assert thread_id != chains.thread_id_of(chain + "x")


def test_new_thread_ids_are_random_uuids() -> None:
    """Of version 4, and never twice."""
    ids = [chains.new_thread_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(str(uuid.UUID(each)) == each and uuid.UUID(each).version == 4 for each in ids)
