"""The pump's own payloads, there and back."""

from dataclasses import dataclass

import pytest

from backends.codec import Codec, default_codec
from backends.errors import CodecError
from backends.mailbox import Answer
from pipeline import ErrorMessage, Gathered
from pipeline.wire import encode_gathered


@dataclass
class Part:
    number: int


ERROR = ErrorMessage("raised", "no", "desk", 2, "frames")


def test_a_gathering_comes_back_as_it_was() -> None:
    """Results in order, None where there is none, errors by index."""
    gathered = Gathered([Part(1), None, None, Part(4)], {1: ERROR.to_exception()})
    again = default_codec().decode(default_codec().encode(gathered))
    assert again.results == gathered.results
    assert list(again.errors) == [1]
    assert again.errors[1].args == gathered.errors[1].args


@pytest.mark.parametrize("settings", [{}, {"format": "pickle", "keys": ["k"]}])
def test_answers_are_gathered_without_being_decoded(settings: dict[str, object]) -> None:
    """Into the same bytes, whichever way payloads travel."""
    codec = Codec(**settings)  # type: ignore[arg-type]
    answers = [Answer(False, codec.encode(Part(1))), Answer(True, codec.encode(ERROR)), None]
    gathered = codec.decode(encode_gathered(codec, answers))
    assert gathered.results == [Part(1), None, None]
    assert gathered.errors[1].args == ERROR.to_exception().args
    assert list(gathered.errors) == [1]


def test_a_damaged_error_is_a_codec_error() -> None:
    """Whoever gathers is told."""
    with pytest.raises(CodecError):
        encode_gathered(default_codec(), [Answer(True, b"\xc1")])
