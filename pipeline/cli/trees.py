"""Hops of one conversation as a tree: which run of a handler called which."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backends import chains
from backends.mailbox import Hop


@dataclass
class Branch:
    """A hop and the hops it called, in the order of their beginning."""

    hop: Hop
    calls: "list[Branch]" = field(default_factory=list)


def tree_of(hops: Sequence[Hop]) -> list[Branch]:
    """The hops that nobody called, with all below them.

    A listener that is answered runs again on its own chain. A call belongs to the latest
    run on its caller's chain that had begun by then.

    Args:
        hops: in the order of their beginning.
    """
    runs: dict[str, list[Branch]] = defaultdict(list)
    for hop in hops:
        runs[hop.chain].append(Branch(hop))
    roots: list[Branch] = []
    for chain, branches in runs.items():
        callers = _nearest(chain, runs)
        for branch in branches:
            caller = _at(callers, branches[0].hop.started_at) if callers else None
            (roots if caller is None else caller.calls).append(branch)
    for branches in (roots, *(each.calls for each in _all(roots))):
        branches.sort(key=lambda branch: branch.hop.started_at)
    return roots


def _nearest(chain: str, runs: Mapping[str, list[Branch]]) -> list[Branch] | None:
    """The runs of the nearest caller that is known; mostly the first one asked for.

    One at a time, for all callers of a chain are as many characters as the square of its depth.
    """
    caller = chains.caller_of(chain)
    while caller is not None and caller not in runs:
        caller = chains.caller_of(caller)
    return None if caller is None else runs[caller]


def _at(branches: list[Branch], moment: float) -> Branch:
    """The run that had begun last at *moment*; clocks of two machines may disagree."""
    position = bisect_right(branches, moment, key=lambda branch: branch.hop.started_at)
    return branches[max(0, position - 1)]


def _all(branches: list[Branch]) -> Iterator[Branch]:
    waiting = list(branches)
    while waiting:
        branch = waiting.pop()
        yield branch
        waiting += branch.calls


class Line(NamedTuple):
    """One hop where it stands in the tree."""

    #: What stands before it on a terminal.
    guide: str
    depth: int
    hop: Hop


def lines_of(branches: Sequence[Branch]) -> Iterator[Line]:
    """Every hop, each before those it called."""
    waiting = [("", "", 0, branch) for branch in reversed(branches)]
    while waiting:
        guide, below, depth, branch = waiting.pop()
        yield Line(guide, depth, branch.hop)
        ends = ("└─ ", "   ")
        for call in reversed(branch.calls):
            waiting.append((below + ends[0], below + ends[1], depth + 1, call))
            ends = ("├─ ", "│  ")
