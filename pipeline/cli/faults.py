"""Why a run failed, without the words of its handler: those may quote what it was given.

What is told is the error's code, the exception's class, and the file, line and function that
raised it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import msgspec

from backends.types import name_of
from pipeline.messages import ErrorCode, ErrorMessage, Gathered

#: Errors of one payload, and characters of each part, that are told.
MOST_FAULTS, MOST_CHARS = 20, 200

_CLASS = re.compile(r"([^\W\d][\w.]*)(?::|\s*\Z)")
_FRAME = re.compile(r'^  File "([^"\n]+)", line (\d+), in (\S+)$', re.MULTILINE)
_error = msgspec.msgpack.Decoder(ErrorMessage)
_GatheredShape = tuple[list[msgspec.Raw], dict[int, ErrorMessage]]
_gathered: msgspec.msgpack.Decoder[_GatheredShape] = msgspec.msgpack.Decoder(_GatheredShape)
_split: msgspec.msgpack.Decoder[tuple[str, msgspec.Raw]] = msgspec.msgpack.Decoder(
    tuple[str, msgspec.Raw]
)
ERROR, GATHERED = name_of(ErrorMessage), name_of(Gathered)


@dataclass(frozen=True)
class Fault:
    """One failed call."""

    listener: str
    code: str
    attempt: int
    #: The exception's class; empty where none was raised.
    raised: str
    #: `file:line in function`; empty where that is not known.
    where: str
    #: The handler's own words; None unless they may be told.
    message: str | None = None


def faults_in(name: str, body: msgspec.Raw, *, with_reasons: bool) -> tuple[Fault, ...]:
    """The failed calls that a payload tells of.

    Args:
        name: of the payload's class.
        body: as it travels.
    """
    try:
        errors = list(_errors(name, body))[:MOST_FAULTS]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(_fault(error, with_reasons=with_reasons) for error in errors)


def faults_of(typed: bytes) -> tuple[Fault, ...]:
    """The same of a payload with its class's name, as it is kept; without any words."""
    try:
        name, body = _split.decode(typed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
    return faults_in(name, body, with_reasons=False)


def _errors(name: str, body: msgspec.Raw) -> Iterator[ErrorMessage]:
    if name == ERROR:
        yield _error.decode(body)
    elif name == GATHERED:
        yield from _gathered.decode(body)[1].values()


def _fault(error: ErrorMessage, *, with_reasons: bool) -> Fault:
    raised = _CLASS.match(error.message) if error.code == ErrorCode.RAISED else None
    return Fault(
        listener=error.listener[:MOST_CHARS],
        code=error.code[:MOST_CHARS],
        attempt=error.attempt,
        raised=raised[1][:MOST_CHARS] if raised else "",
        where=_where(error)[:MOST_CHARS],
        message=error.message[:MOST_CHARS] if with_reasons else None,
    )


def _where(error: ErrorMessage) -> str:
    """The frame that raised: the last one before the message, which may hold anything."""
    text = error.traceback.rstrip()
    if not error.message or not text.endswith(error.message):
        return ""
    frames = _FRAME.findall(text.removesuffix(error.message))
    if not frames:
        return ""
    path, line, function = frames[-1]
    return f"{PurePath(path).name}:{line} in {function}"
