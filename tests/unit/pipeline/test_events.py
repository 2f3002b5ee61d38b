"""Who is told what happens."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from pipeline.events import Event, Subscribers

EVENT = Event("c", "t")


def test_everyone_is_told_until_they_leave() -> None:
    """In the order they came; leaving twice is fine, also while being told."""
    subscribers = Subscribers()
    assert not subscribers.callbacks
    told: list[str] = []
    leave: list[Callable[[], None]] = []

    def once(event: Event) -> None:
        told.append("once")
        leave[0]()

    leave.append(subscribers.add(once))
    remove = subscribers.add(lambda event: told.append(event.thread_id))
    assert subscribers.callbacks
    subscribers.tell(EVENT)
    subscribers.tell(EVENT)
    assert told == ["once", "t", "t"]
    remove()
    remove()
    assert not subscribers.callbacks


@pytest.mark.parametrize("raised", [RuntimeError, asyncio.CancelledError, GeneratorExit])
def test_one_that_raises_harms_nobody(
    caplog: pytest.LogCaptureFixture, raised: type[BaseException]
) -> None:
    """It is logged with its traceback; a future's `result` may raise more than an `Exception`."""
    subscribers = Subscribers()
    told: list[Event] = []

    def broken(event: Event) -> None:
        raise raised("its own fault")

    subscribers.add(broken)
    subscribers.add(told.append)
    with caplog.at_level(logging.ERROR):
        subscribers.tell(EVENT)
    assert told == [EVENT]
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "its own fault"
    ]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_one_may_end_the_program(raised: type[BaseException]) -> None:
    """Those who mean to leave do."""

    def leave(event: Event) -> None:
        raise raised

    subscribers = Subscribers()
    subscribers.add(leave)
    with pytest.raises(raised):
        subscribers.tell(EVENT)
