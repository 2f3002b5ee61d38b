"""Hops as trees: who called whom, from chains and moments alone."""

import pytest

from backends.mailbox import Hop
from pipeline.cli.trees import lines_of, tree_of


def hop(name: str, chain: str, started_at: float) -> Hop:
    to = chain.rpartition(".")[2]
    return Hop(name, to, "", "", chain, "", "", 1, started_at, 0.1)


def outline(*hops: Hop) -> list[str]:
    """Every hop's id behind its guides."""
    return [f"{line.guide}{line.hop.id}" for line in lines_of(tree_of(hops))]


def test_a_call_is_below_the_run_that_made_it() -> None:
    """An answered listener runs again; what it calls then is below that run."""
    first = hop("a1", "o.@1.x.a", 1)
    called = hop("b1", "o.@1.x.a.b", 2)
    deeper = hop("c1", "o.@1.x.a.b.c", 3)
    again = hop("a2", "o.@1.x.a", 4)
    later = hop("d1", "o.@1.x.a.d", 5)
    assert outline(first, called, deeper, again, later) == [
        "a1",
        "└─ b1",
        "   └─ c1",
        "a2",
        "└─ d1",
    ]


def test_what_is_replayed_is_beside_the_run_that_died() -> None:
    """Though its caller has been told the error meanwhile, and has run again."""
    first = hop("a1", "o.@1.x.a", 1)
    died = hop("b1", "o.@1.x.a.b", 2)
    told = hop("a2", "o.@1.x.a", 3)
    replayed = hop("b2", "o.@1.x.a.b", 9)
    answered = hop("a3", "o.@1.x.a", 10)
    assert outline(first, died, told, replayed, answered) == [
        "a1",
        "├─ b1",
        "└─ b2",
        "a2",
        "a3",
    ]


def test_members_stand_side_by_side() -> None:
    """Scattered members have chains of their own; guides show how far a level goes."""
    hops = [
        hop("s", "o.@1.x.s", 1),
        hop("m1", "o.@1.x.s.#1.m", 2),
        hop("m2", "o.@1.x.s.#2.m", 3),
        hop("n1", "o.@1.x.s.#1.m.n", 4),
    ]
    assert outline(*hops) == ["s", "├─ m1", "│  └─ n1", "└─ m2"]


def test_a_caller_without_a_hop_is_passed_over() -> None:
    """It may have died with its worker, or still run."""
    hops = [hop("a", "o.@1.x.a", 1), hop("c", "o.@1.x.a.b.c", 2)]
    assert outline(*hops) == ["a", "└─ c"]
    assert outline(hop("c", "o.@1.x.a.b.c", 2)) == ["c"]


def test_clocks_may_disagree() -> None:
    """A call that seems to begin before its caller still belongs to it."""
    hops = [hop("b", "o.@1.x.a.b", 1), hop("a", "o.@1.x.a", 2)]
    assert outline(*hops) == ["a", "└─ b"]


@pytest.mark.timeout(10)
def test_a_chain_of_any_length() -> None:
    """Deeper than Python would recurse, and in a moment."""
    hops, chain = [], "o.@1.x"
    for number in range(4000):
        chain = f"{chain}.a-listener-with-a-long-name"
        hops.append(hop(str(number), chain, number))
    assert len(outline(*hops)) == 4000
