"""What one hop does to the system, as a plan."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from backends import chains
from backends.codec import Codec
from backends.mailbox import Answer, Envelope, Gathering
from pipeline.messages import ErrorCode, ErrorMessage
from pipeline.organism import Limits, Listener
from pipeline.roster import Roster
from pipeline.routing import MAX_ID_CHARS, HopRefusedError, Router, derived_id
from pipeline.worker import Reply


@dataclass
class Ask:
    number: int = 0


@dataclass
class Other: ...


async def handle(payload: Any, metadata: Any) -> None: ...


CODEC = Codec()
ASK, OTHER = CODEC.encode(Ask()), CODEC.encode(Other())
ERROR = ErrorMessage(ErrorCode.RAISED, "no", "desk")
ROOT = "system.o.@c.external"


@pytest.fixture
def router() -> Router:
    listeners = [
        Listener("desk", handle, Ask),
        Listener("calculator.add", handle, Ask),
        Listener("agent", handle, Ask, agent=True, peers=("desk",)),
        Listener("log", handle, Ask, broadcast=True),
        Listener("log", handle, Ask, broadcast=True),
    ]
    return Router(Roster(listeners), CODEC, Limits(max_scatter=3, max_hop_bytes=500))


def taken(to: str, chain: str, scope: str = "s") -> Envelope:
    own = chain == f"{ROOT}.{chains.escape_hop(to)}"
    thread_id = "c" if own else chains.thread_id_of(chain)
    return Envelope("m", "c", scope, chain, thread_id, to, "x", ASK)


def test_an_opening_reaches_each_namesake_on_a_thread_of_its_own(router: Router) -> None:
    """All in one scope; the first on the conversation's own thread."""
    opening = router.plan_opening(
        "log",
        ASK,
        from_id="external",
        thread_id="c",
        chain=f"{ROOT}.log",
        scope="s",
        message_id="id",
    )
    first, second = opening.envelopes
    assert (first.id, first.to, first.thread_id) == ("s", "log", "c")
    assert (second.id, second.to) == ("s.c.1", "log~1")
    assert second.thread_id == chains.thread_id_of(second.chain)
    assert {each.scope for each in opening.envelopes} == {"s"}
    assert all(each.is_from_outside and each.from_id == "external" for each in opening.envelopes)
    assert [slot.thread_id for slot in opening.slots] == ["c", second.thread_id]
    assert opening.message_id == "id"


def test_a_forward_extends_the_chain_and_an_answer_goes_back(router: Router) -> None:
    """To the same thread, whatever the names look like."""
    out = router.plan(taken("desk", f"{ROOT}.desk"), [Reply("calculator.add", [ASK])])
    (sent,) = out.sends
    assert (sent.to, sent.from_id, sent.scope) == ("calculator.add", "desk", "s")
    assert sent.chain == f"{ROOT}.desk.calculator%2Eadd"
    assert [slot.chain for slot in out.slots] == [sent.chain]
    (back,) = router.plan(sent, [Reply(None, [OTHER])]).sends
    assert (back.to, back.from_id) == ("desk", "calculator.add")
    assert (back.chain, back.thread_id) == (f"{ROOT}.desk", "c")


def test_an_answer_to_the_outside_is_remembered(router: Router) -> None:
    """In the conversation's own thread; nothing more is sent."""
    plan = router.plan(taken("desk", f"{ROOT}.desk"), [Reply(None, [OTHER])])
    assert plan.answers == [Answer(False, OTHER)]
    assert plan.sends == []
    (slot,) = plan.slots
    assert CODEC.open_slot(slot.data)[0].to_id == "external"


def test_a_member_answers_its_scatterer_and_leaves_no_slot_there(router: Router) -> None:
    """The gathering brings all answers at once."""
    plan = router.plan(taken("desk", f"{ROOT}.desk.#m1.desk", "m1"), [Reply(None, [OTHER])])
    assert plan.answers == [Answer(False, OTHER)]
    assert (plan.sends, plan.slots) == ([], [])


def test_a_scatter_opens_a_scope_a_member(router: Router) -> None:
    """On threads apart; whom to tell is the scatterer, on its own thread."""
    source = taken("desk", f"{ROOT}.desk")
    plan = router.plan(source, [Reply("calculator.add", [ASK, ASK], is_scatter=True)])
    (scatter,) = plan.scatters
    assert [member.scope for member in scatter.members] == ["m.0.m.0", "m.0.m.1"]
    assert len({member.thread_id for member in scatter.members} | {"c"}) == 3
    assert (scatter.reply_to.to, scatter.reply_to.thread_id) == ("desk", "c")
    assert scatter.reply_to.from_id == "calculator.add"
    gathered = router.plan_gathering(Gathering(scatter.reply_to, [Answer(False, OTHER), None]))
    (told,) = gathered.sends
    assert CODEC.decode(told.payload).results == [Other(), None]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply("nobody", [ASK]), "nobody"),
        (Reply("desk", [OTHER]), "which takes Ask"),
        (Reply("desk", [ASK, OTHER], is_scatter=True), "which takes Ask"),
        (Reply("desk", [ASK] * 4, is_scatter=True), "limits.max_scatter"),
        (Reply("log", [ASK], is_scatter=True), "which listeners share"),
        (Reply(None, [b"\xc1"]), "can't be decoded"),
        (Reply(None, [b"x" * 501]), "limits.max_hop_bytes"),
    ],
)
def test_what_cannot_be_sent_refuses_the_whole_hop(router: Router, reply: Reply, text: str) -> None:
    """Nothing of a return is sent unless all of it is."""
    with pytest.raises(HopRefusedError, match=text):
        router.plan(taken("calculator.add", f"{ROOT}.x"), [Reply("desk", [ASK]), reply])


def test_a_breach_comes_back_from_the_system(router: Router) -> None:
    """To the agent, on its own thread, and to nobody else."""
    source = taken("agent", f"{ROOT}.agent")
    for reply in (Reply("log", [ASK]), Reply("nobody", [ASK, ASK], is_scatter=True)):
        plan = router.plan(source, [reply])
        (told,) = plan.sends
        assert (told.to, told.from_id, told.thread_id) == ("agent", "system", "c")
        assert CODEC.decode(told.payload).code == ErrorCode.NOT_A_PEER
        assert plan.scatters == []
    (allowed,) = router.plan(source, [Reply("desk", [ASK])]).sends
    assert allowed.to == "desk"


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        (f"{ROOT}.desk", None),
        (f"{ROOT}.desk.calculator%2Eadd", None),
        (f"{ROOT}.agent.desk", "agent"),
        (f"{ROOT}.agent.desk.desk.desk", "agent"),
        (f"{ROOT}.agent.#m.desk.desk", None),
        (f"{ROOT}.#m.agent.desk", "agent"),
    ],
)
def test_an_error_goes_to_the_nearest_who_takes_it(
    router: Router, chain: str, told: str | None
) -> None:
    """But never past the scatter it belongs to, or the one who asked."""
    plan = router.plan_error(taken("desk", chain), ERROR)
    if told is None:
        assert plan.sends == []
        (answer,) = plan.answers
        assert answer.is_error
        assert CODEC.decode(answer.payload) == ERROR
    else:
        assert plan.answers == []
        assert [sent.to for sent in plan.sends] == [told]


def test_a_listener_that_sends_to_itself_stays_on_its_thread(router: Router) -> None:
    """So its answer goes to whoever called it first."""
    source = taken("desk", f"{ROOT}.agent.desk")
    (sent,) = router.plan(source, [Reply("desk", [ASK])]).sends
    assert (sent.chain, sent.thread_id) == (source.chain, source.thread_id)


def test_derived_ids_are_the_same_every_time_and_never_long() -> None:
    """However deep a conversation grows."""
    parent, seen = "m", set()
    for depth in range(100):
        path = derived_id(parent, depth)
        assert path == derived_id(parent, depth)
        assert len(path) <= MAX_ID_CHARS
        seen.add(path)
        parent = path
    assert len(seen) == 100
    assert derived_id("m", 1) != derived_id("m", 2)


def test_what_is_sent_has_the_trace_of_what_was_taken(router: Router) -> None:
    """Also by a pump that is not traced; a member's answer tells the scatterer's next run."""
    given = msgspec.structs.replace(taken("desk", f"{ROOT}.desk"), trace=b"opaque")
    replies = [
        Reply("calculator.add", [ASK]),
        Reply("calculator.add", [ASK, ASK], is_scatter=True),
        Reply(None, [OTHER]),
    ]
    plan = router.plan(given, replies)
    (scatter,) = plan.scatters
    assert [each.trace for each in (*plan.sends, *scatter.members, scatter.reply_to)] == [
        b"opaque"
    ] * 4
    # Whoever asked from outside has no use for it.
    assert [answer.trace for answer in plan.answers] == [None]
    (answer,) = router.plan(scatter.members[0], [Reply(None, [OTHER])]).answers
    assert answer.trace == b"opaque"
