"""Each kind of record holds under its own kind and id, and nowhere else."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from backends.codec import Codec
from backends.errors import SignatureError
from backends.mailbox import Answer, Envelope, Hop, Letter
from backends.redis.records import Dispatch, Gather, Outcome, Records

ENVELOPE = Envelope("id", "conversation", "scope", "chain", "thread", "to", "from", b"payload")
HOP = Hop("id", "to", "from", "thread", "chain", "type", "place", 1, 0.0, 0.0)
#: One of each kind that has an id.
CONTENTS: dict[str, Any] = {
    "dispatch": Dispatch(ENVELOPE, "fingerprint"),
    "outcome": Outcome(ENVELOPE, b"body", HOP),
    "answer": Answer(False, b"payload"),
    "gather": Gather(ENVELOPE, ["scope"]),
    "hop": HOP,
    "letter": Letter(ENVELOPE, "code", "reason", 0.0),
}


@pytest.fixture
def records() -> Records:
    return Records(Codec(keys=["key"], realm="xp:"))


def opened(records: Records, kind: str) -> Callable[[str, bytes], Any]:
    found: Callable[[str, bytes], Any] = getattr(records, f"open_{kind}")
    return found


def sealed(records: Records, kind: str) -> bytes:
    record: bytes = getattr(records, kind)("one", CONTENTS[kind])
    return record


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_record_holds_under_its_own_id(records: Records, kind: str) -> None:
    """Under another it is refused, and so is one of another organism, or unsigned."""
    record = sealed(records, kind)
    assert opened(records, kind)("one", record) == CONTENTS[kind]
    with pytest.raises(SignatureError):
        opened(records, kind)("two", record)
    for other in (Codec(keys=["key"], realm="xp"), Codec(keys=["other"], realm="xp:"), Codec()):
        with pytest.raises(SignatureError):
            opened(records, kind)("one", sealed(Records(other), kind))


@pytest.mark.parametrize(("kind", "other"), list(permutations(CONTENTS, 2)))
def test_a_record_is_none_of_another_kind(records: Records, kind: str, other: str) -> None:
    """Though they may look alike."""
    with pytest.raises(SignatureError):
        opened(records, other)("one", sealed(records, kind))


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_kept_is_no_message(records: Records, kind: str) -> None:
    """Nothing that was stored can be sent again as it is."""
    with pytest.raises(SignatureError):
        records.open_message(sealed(records, kind))
