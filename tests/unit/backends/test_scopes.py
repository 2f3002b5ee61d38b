"""Counting what is open: a random tree of hops always ends, and ends once."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.mailbox import Answer, Effects, Envelope, Gathering, Opening, Scatter, Settlement
from backends.scopes import ScopeTable


def envelope(envelope_id: str, scope: str, conversation: str = "c") -> Envelope:
    return Envelope(envelope_id, conversation, scope, "chain", "thread", "to", "from", b"")


def nothing(taken: Envelope | Gathering) -> Settlement:
    return Settlement(taken, [], [], [], [])


def opened(table: ScopeTable, scope: str = "s", conversation: str = "c") -> Envelope:
    first = envelope(scope, scope, conversation)
    table.open(Opening([first], []))
    return first


def test_a_conversation_ends_with_its_last_message() -> None:
    """Not before: what a hop sends counts before the hop is done."""
    table = ScopeTable()
    first = opened(table)
    second = envelope("2", "s")
    ready, effects = table.apply(Settlement(first, [], [second], [], []))
    assert ready == [second]
    assert effects == Effects([], [], [])
    _, effects = table.apply(nothing(second))
    assert (effects.closed_scopes, effects.closed_conversations) == (["s"], ["c"])
    assert table.open_count == 0


def test_the_first_answer_of_a_root_counts() -> None:
    """Later ones are dropped and counted."""
    table = ScopeTable()
    first = opened(table)
    answers = [Answer(False, b"1"), Answer(False, b"2")]
    _, effects = table.apply(Settlement(first, [], [], [], answers))
    assert effects.answered == [("s", answers[0])]
    assert effects.dropped_answers == 1


def test_two_messages_of_one_conversation_have_a_scope_each() -> None:
    """It closes when both have."""
    table = ScopeTable()
    one, other = opened(table, "s1"), opened(table, "s2")
    _, effects = table.apply(nothing(one))
    assert (effects.closed_scopes, effects.closed_conversations) == (["s1"], [])
    _, effects = table.apply(nothing(other))
    assert (effects.closed_scopes, effects.closed_conversations) == (["s2"], ["c"])


def test_a_gathering_is_ready_when_all_have_answered() -> None:
    """In the order scattered, though a member still has work; the rest is counted on."""
    table = ScopeTable()
    first = opened(table)
    members = [envelope(f"m{n}", f"m{n}") for n in range(2)]
    reply_to = envelope("g", "s")
    table.apply(Settlement(first, [], [], [Scatter(reply_to, members)], []))
    more = envelope("more", "m1")
    ready, _ = table.apply(Settlement(members[1], [], [more], [], [Answer(False, b"1")]))
    assert ready == [more]
    ready, _ = table.apply(Settlement(members[0], [], [], [], [Answer(True, b"0")]))
    gathering = Gathering(reply_to, [Answer(True, b"0"), Answer(False, b"1")])
    assert ready == [gathering]
    _, effects = table.apply(nothing(gathering))
    assert effects.closed_scopes == []
    _, effects = table.apply(nothing(more))
    assert effects.closed_scopes == ["s"]


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_every_tree_of_hops_drains_to_nothing(seed: int, budget: int) -> None:
    """Whatever is sent, scattered and answered in whatever order, all closes exactly once."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible choice
    table = ScopeTable()
    waiting: list[Envelope | Gathering] = [opened(table)]
    gathered = expected = made = 0
    closed: list[str] = []
    while waiting:
        taken = waiting.pop(rng.randrange(len(waiting)))
        gathered += isinstance(taken, Gathering)
        sends, scatters = [], []
        for _ in range(rng.randrange(3)):
            if made < budget:
                made += 1
                sends.append(envelope(f"e{made}", taken.scope))
        if made < budget and rng.random() < 0.3:
            made += 1
            expected += 1
            count = rng.randrange(4)
            members = [envelope(f"m{made}.{n}", f"m{made}.{n}") for n in range(count)]
            scatters.append(Scatter(envelope(f"g{made}", taken.scope), members))
        answers = [Answer(False, b"")] * rng.randrange(3)
        ready, effects = table.apply(Settlement(taken, [], sends, scatters, answers))
        waiting += ready
        closed += effects.closed_scopes
        assert table.open_count == (0 if closed else 1)
    assert closed == ["s"]
    assert gathered == expected
    assert table.conversations["c"].open_scopes == 0
    assert not table._scopes
