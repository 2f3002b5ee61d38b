"""How the pump's own payloads travel: `Gathered` and `ErrorMessage`."""

from typing import Any

import msgspec

from backends.codec import Codec, default_codec, name_of
from backends.mailbox import Answer
from backends.types import WireForm
from pipeline.messages import ErrorMessage, Gathered

_encoder = msgspec.msgpack.Encoder()
_NIL = _encoder.encode(None)
_GatheredShape = tuple[list[msgspec.Raw], dict[int, ErrorMessage]]


def _gathered_to_wire(codec: Codec, gathered: Gathered) -> _GatheredShape:
    results = [
        msgspec.Raw(_NIL if result is None else codec.encode(result)) for result in gathered.results
    ]
    errors = {
        index: ErrorMessage(
            error.code, error.message, error.listener, error.attempt, error.traceback
        )
        for index, error in gathered.errors.items()
    }
    return results, errors


def _gathered_from_wire(codec: Codec, wire: _GatheredShape) -> Gathered:
    results, errors = wire
    return Gathered(
        [None if bytes(raw) == _NIL else codec.decode(raw) for raw in results],
        {index: error.to_exception() for index, error in errors.items()},
    )


def declare_builtin_types() -> None:
    """Let the pump's own payloads come off the wire of this process."""
    types = default_codec().types
    types.declare(ErrorMessage)
    types.declare(Gathered, WireForm(_GatheredShape, _gathered_to_wire, _gathered_from_wire))


def encode_gathered(codec: Codec, answers: list[Answer | None]) -> bytes:
    """The answers of a scatter as a typed `Gathered`, without decoding a result.

    Raises:
        CodecError: an error among them can't be decoded.
    """
    results = [_NIL if answer is None or answer.is_error else answer.payload for answer in answers]
    errors: dict[int, Any] = {
        index: codec.decode(answer.payload)
        for index, answer in enumerate(answers)
        if answer is not None and answer.is_error
    }
    shape = ([msgspec.Raw(result) for result in results], errors)
    return _encoder.encode((name_of(Gathered), shape))


declare_builtin_types()
