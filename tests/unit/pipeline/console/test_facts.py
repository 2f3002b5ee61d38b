"""Who called whom, from the hops that are kept."""

from typing import NamedTuple

import pytest

from backends.mailbox import Envelope, Hop, Letter
from pipeline.cli.console.facts import graph_of, letter_of
from pipeline.cli.console.redaction import Summary


class Step(NamedTuple):
    chain: str
    to: str
    from_id: str
    error: str = ""


def hops_of(*steps: Step) -> list[Hop]:
    return [
        Hop(str(n), step.to, step.from_id, "t", step.chain, "T", "h:1", 1, n, 0.5, step.error)
        for n, step in enumerate(steps)
    ]


def test_calls_and_answers() -> None:
    """A run on its own chain again is an answer, which is no call; one from outside is."""
    root, below = "@c.external.a", "@c.external.a.b"
    nodes, edges = graph_of(
        hops_of(
            Step(root, "a", "external"),
            Step(below, "b", "a", "raised"),
            Step(below, "b", "a"),
            Step(root, "a", "b"),
            Step(root, "a", "external"),
        )
    )
    found = {(each.source, each.target): each for each in edges}
    assert set(found) == {("external", "a"), ("a", "b")}
    assert (found["external", "a"].calls, found["external", "a"].returns) == (2, 0)
    called = found["a", "b"]
    assert (called.calls, called.failures, called.returns) == (2, 1, 1)
    runs = {each.name: (each.runs, each.failures, each.seconds) for each in nodes}
    assert runs == {"external": (0, 0, 0.0), "a": (3, 0, 1.5), "b": (2, 1, 1.0)}


@pytest.mark.parametrize(
    ("code", "killed", "why"),
    [
        ("worker_lost", ["w/1"] * 3, "Its handler killed its worker 3 times."),
        (
            "worker_lost",
            ["vm:1 SIGKILL", "vm:2 exit status 3"],
            "Its handler killed its worker twice (SIGKILL, exit status 3).",
        ),
        ("worker_lost", [], "No live worker runs this listener as the organism declares it."),
        ("undeliverable", [], "It can't be read, or can't be delivered to a listener."),
    ],
)
def test_why_is_told_in_our_own_words(code: str, killed: list[str], why: str) -> None:
    """For the reason kept with it may quote a payload; unless that may be shown."""
    envelope = Envelope("i", "c", "s", "@c", "t", "a~1", "b", b"")
    letter = Letter(envelope, code, "planted", 1.0, [(each, 1.0) for each in killed])
    told = letter_of("i", letter, Summary("T", 0), with_reason=False)
    assert (told.listener, told.why) == ("a", why)
    assert letter_of("i", letter, Summary("T", 0), with_reason=True).why == "planted"
