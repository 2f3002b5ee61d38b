"""Listeners as routing sees them."""

from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.errors import PayloadTypeError, UnknownListenerError
from pipeline.organism import Listener
from pipeline.roster import Roster, check_type, name_of


@dataclass
class Ask: ...


@dataclass
class Polite(Ask): ...


@dataclass
class Other: ...


async def handle(payload: Any, metadata: Any) -> None: ...


def listener(name: str) -> Listener:
    return Listener(name, handle, Ask, broadcast=True)


def test_namesakes_have_an_id_each() -> None:
    """One name reaches all of them; each id one, and tells the name."""
    first, second, other = listener("log"), listener("log"), listener("log.file")
    roster = Roster([first, other])
    assert roster.add(second) == "log~1"
    assert roster.named("log") == [("log", first), ("log~1", second)]
    assert dict(roster.items()) == {"log": first, "log.file": other, "log~1": second}
    assert len(roster) == 3
    assert roster.get("log~1") is second
    assert roster.get("log~2") is None
    assert [name_of(each) for each in ("log", "log~1", "log.file")] == ["log", "log", "log.file"]


def test_an_unknown_name_suggests_a_near_one() -> None:
    """Or none."""
    roster = Roster([listener("calculator.add")])
    with pytest.raises(UnknownListenerError, match='"calculator.ad"; did you mean "calculator.add'):
        roster.named("calculator.ad")
    with pytest.raises(UnknownListenerError, match='no listener is called "zzz"$'):
        roster.named("zzz")


def test_a_listener_takes_its_class_and_what_is_below() -> None:
    """Anything else is refused with both names."""
    check_type(Ask, listener("desk"), "x")
    check_type(Polite, listener("desk"), "x")
    with pytest.raises(PayloadTypeError, match="^x sent Other to 'desk', which takes Ask$"):
        check_type(Other, listener("desk"), "x")
