"""Why a run failed, told without the words of its handler."""

import traceback

import msgspec
import pytest

from backends.codec import Codec
from backends.mailbox import Answer
from pipeline.cli.console.redaction import Rule, Summary, summarise
from pipeline.messages import ErrorMessage
from pipeline.wire import encode_gathered

PLANTED = 'planted\n  File "planted.py", line 1, in planted\n    planted'


class PickyError(Exception):
    """A class of the organism's."""


def fail() -> None:
    raise PickyError(PLANTED)


def error(code: str = "raised") -> ErrorMessage:
    """As a worker makes it, of a failure that another one led to."""
    try:
        try:
            int(PLANTED)
        except ValueError:
            fail()
    except PickyError as exc:
        message = "".join(traceback.format_exception_only(exc)).strip()
        return ErrorMessage(code, message, "work", 2, "".join(traceback.format_exception(exc)))
    raise AssertionError


def told(payload: ErrorMessage, rule: Rule = Rule()) -> Summary:  # noqa: B008 - frozen
    codec = Codec()
    return summarise(codec.encode(payload), codec, rule)


def test_the_class_and_the_place() -> None:
    """Of what was raised last; no word of the message, whatever it looks like."""
    summary = told(error(), Rule(frozenset({"message", "ErrorMessage.traceback"})))
    (fault,) = summary.faults
    assert (fault.listener, fault.code, fault.attempt) == ("work", "raised", 2)
    assert fault.raised.rpartition(".")[2] == "PickyError"
    line = fail.__code__.co_firstlineno + 1
    assert fault.where == f"test_faults.py:{line} in fail"
    assert "planted" not in msgspec.json.encode(summary).decode()


def test_a_gathering_tells_of_its_members() -> None:
    """How many there were, and why some failed."""
    codec = Codec()
    answers = [Answer(is_error=True, payload=codec.encode(error())), None]
    summary = summarise(encode_gathered(codec, answers), codec, Rule())
    assert [fault.listener for fault in summary.faults] == ["work"]
    assert [(each.name, each.size) for each in summary.fields] == [
        ("results", "2 items"),
        ("errors", "1 entry"),
    ]
    assert "planted" not in msgspec.json.encode(summary).decode()


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        (PLANTED, ""),
        (PLANTED, f"{PLANTED} and more"),
        (PLANTED, PLANTED),
        ("", PLANTED),
        ("planted words", '  File "planted.py", line 1, in planted words\n'),
    ],
    ids=range(5),
)
def test_what_is_no_traceback_tells_nothing(message: str, frames: str) -> None:
    """The words of what did not raise are not taken for a class, nor others for a frame."""
    summary = told(ErrorMessage("undeliverable", message, "work", 1, frames))
    assert "planted" not in msgspec.json.encode(summary).decode()


def test_words_are_told_where_they_may_be() -> None:
    """Cut short."""
    (fault,) = told(error(), Rule(with_reasons=True)).faults
    assert fault.message is not None
    assert PLANTED in fault.message
