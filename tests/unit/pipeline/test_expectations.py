"""Who waits for an answer, and who for the end of everything."""

import asyncio

import pytest

from backends.mailbox import Answer, Opened
from pipeline.errors import NoAnswerError, PumpStoppedError
from pipeline.expectations import Expectations

ANSWER = Answer(False, b"1")


async def test_everyone_who_waits_gets_the_first_answer() -> None:
    """Later ones reach nobody."""
    expectations = Expectations()
    waiters = [expectations.expect("s") for _ in range(2)]
    expectations.answer("s", ANSWER)
    expectations.answer("s", Answer(True, b"2"))
    assert await asyncio.gather(*waiters) == [ANSWER, ANSWER]


async def test_an_end_without_an_answer_is_told() -> None:
    """To who waits for that scope, not to others."""
    expectations = Expectations()
    waiter, other = expectations.expect("s"), expectations.expect("t")
    expectations.close("s")
    with pytest.raises(NoAnswerError):
        await waiter
    assert not other.done()


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        (Opened("c", "s", is_duplicate=True, is_closed=True, answer=ANSWER), ANSWER),
        (Opened("c", "s", is_duplicate=True, answer=ANSWER), ANSWER),
        (Opened("c", "s", is_duplicate=True, is_closed=True), NoAnswerError),
        (Opened("c", "s", is_duplicate=True), None),
    ],
)
async def test_a_duplicate_learns_what_is_known(opened: Opened, expected: object) -> None:
    """The first one's answer, or that there was none; else it waits on."""
    expectations = Expectations()
    waiter = expectations.expect("s")
    expectations.recall(opened)
    if expected is None:
        assert not waiter.done()
    elif expected is NoAnswerError:
        assert isinstance(waiter.exception(), NoAnswerError)
    else:
        assert waiter.result() == expected


async def test_who_gave_up_is_forgotten() -> None:
    """Nothing is kept for it, and nothing complains that nobody looked."""
    expectations = Expectations()
    stays, leaves = expectations.expect("s"), expectations.expect("s")
    expectations.give_up("s", leaves)
    expectations.answer("s", ANSWER)
    assert not leaves.done()
    expectations.give_up("s", stays)
    late = expectations.expect("t")
    expectations.close("t")
    expectations.give_up("t", late)
    assert not expectations._waiters


async def test_join_waits_for_all_that_began() -> None:
    """Also for what begins meanwhile; a scope counts once, until all who began it have gone."""
    expectations = Expectations()
    for _ in range(3):
        expectations.begin("s")
    expectations.turn_back("s")
    joined = asyncio.create_task(expectations.join())
    await asyncio.sleep(0)
    expectations.begin("t")
    expectations.close("s")
    await asyncio.sleep(0)
    assert not joined.done()
    expectations.turn_back("t")
    await joined
    await expectations.join()


async def test_nothing_comes_after_the_end() -> None:
    """Those who wait are told why, those who join go on."""
    expectations = Expectations()
    waiter = expectations.expect("s")
    expectations.begin("s")
    joined = asyncio.create_task(expectations.join())
    await asyncio.sleep(0)
    expectations.abandon(PumpStoppedError("it stopped"))
    await joined
    with pytest.raises(PumpStoppedError, match="it stopped"):
        await waiter
