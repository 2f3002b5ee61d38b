"""The trace a message belongs to, as bytes that travel with it; knows no OpenTelemetry.

A pump or worker without OpenTelemetry hands on what it was given, so a trace does not end there.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

#: How many contexts follow.
_HEAD = struct.Struct("B")
#: Trace id in two halves, span id and flags, as W3C Trace Context has them.
_CONTEXT = struct.Struct(">QQQB")
_HALF = 2**64
#: What an SDK keeps of a span's links unless told otherwise.
MAX_LINKS = 128
#: Characters of vendors' own state that W3C Trace Context asks to be handed on.
MAX_STATE = 512


class Context(NamedTuple):
    """One span, whichever process it is in."""

    trace_id: int
    span_id: int
    flags: int


class Carried(NamedTuple):
    """What a message carries of its trace."""

    #: The span that sent it.
    parent: Context
    #: The spans that answered, where the message gathers answers.
    links: tuple[Context, ...] = ()
    #: The header `tracestate`.
    state: str = ""


def pack(carried: Carried) -> bytes:
    """*carried* as it travels: 26 bytes, and 25 more a link."""
    links = carried.links[:MAX_LINKS]
    packed = _HEAD.pack(1 + len(links)) + _packed(carried.parent)
    if links:
        packed += b"".join(map(_packed, links))
    return packed + carried.state.encode() if len(carried.state) <= MAX_STATE else packed


def _packed(context: Context) -> bytes:
    trace_id, span_id, flags = context
    return _CONTEXT.pack(trace_id // _HALF, trace_id % _HALF, span_id, flags)


def unpack(trace: bytes | None) -> Carried | None:
    """What a message carries; None for nothing, and for what is none of ours."""
    if not trace or len(trace) < _HEAD.size + _CONTEXT.size:
        return None
    count = trace[0]
    end = _HEAD.size + count * _CONTEXT.size
    if not 0 < count <= MAX_LINKS + 1 or not _HEAD.size < end <= len(trace) <= end + MAX_STATE:
        return None
    parent, *links = [
        Context(upper * _HALF + lower, span_id, flags)
        for upper, lower, span_id, flags in _CONTEXT.iter_unpack(trace[_HEAD.size : end])
    ]
    state = trace[end:].decode("ascii", errors="replace")
    # What is no header has come from no header; OpenTelemetry would write it into the log.
    is_header = state.isascii() and state.isprintable()
    return Carried(parent, tuple(links), state if is_header else "")


def gathered(trace: bytes | None, answers: Iterable[bytes | None]) -> bytes | None:
    """The trace of the message that brings a scatterer its answers.

    Args:
        trace: what the scatterer's hop sends.
        answers: what each answer carries.
    """
    carried = unpack(trace)
    if carried is None:
        return trace
    links: dict[Context, None] = {}
    for answer in answers:
        if len(links) == MAX_LINKS:
            break
        answered = unpack(answer)
        if answered is not None:
            links[answered.parent] = None
    return pack(carried._replace(links=tuple(links)))
