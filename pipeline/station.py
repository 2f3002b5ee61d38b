"""One listener at work, and the calls of its handler."""

import os
import socket
import time
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

import msgspec

from backends.codec import Codec
from backends.errors import CodecError
from backends.mailbox import Envelope, Hop
from pipeline.deaths import parts_of
from pipeline.instructions import payload_schema
from pipeline.messages import ErrorCode, HandlerMetadata
from pipeline.organism import Listener
from pipeline.worker import Call, Failed, Outcome


class Station:
    """A listener where its messages arrive: on a pump, or on a worker."""

    def __init__(self, listener: Listener, usage_instructions: str = "") -> None:
        self.listener = listener
        self.own_name = listener.name if listener.agent else None
        self.usage_instructions = usage_instructions
        self.fingerprint = fingerprint_of(listener)

    def call(self, envelope: Envelope) -> Call:
        """The handler's call for one message."""
        listener = self.listener
        metadata = HandlerMetadata(
            thread_id=envelope.thread_id,
            from_id=envelope.from_id,
            own_name=self.own_name,
            is_self_call=envelope.from_id == listener.name,
            usage_instructions=self.usage_instructions,
            attempt=envelope.attempt,
        )
        return Call(listener.name, listener.handler, envelope.payload, metadata, listener.timeout_s)


def fingerprint_of(listener: Listener) -> str:
    """What two processes must agree on to run one another's calls of *listener*.

    Its name, the handler's import path and the payload's schema, as 64 bits.
    """
    handler = listener.handler
    path = f"{getattr(handler, '__module__', '')}.{getattr(handler, '__qualname__', '')}"
    schema = msgspec.json.encode(payload_schema(listener.payload_class), order="sorted")
    text = b"\0".join((listener.name.encode(), path.encode(), schema))
    return blake2b(text, digest_size=8).hexdigest()


def hop_of(envelope: Envelope, codec: Codec, outcome: Outcome) -> Hop:
    """What a handler's run in this process did, now that it has ended."""
    return Hop(
        *_call_in(envelope, codec),
        place(),
        envelope.attempt,
        time.time() - outcome.duration_s,
        outcome.duration_s,
        outcome.error.code if isinstance(outcome, Failed) else "",
    )


def lost_hop_of(envelope: Envelope, codec: Codec, history: Sequence[tuple[str, float]]) -> Hop:
    """The last of the runs that each killed its process: nobody knows when it began.

    Args:
        history: each process its handler killed, and when.
    """
    process, died_at = history[-1]
    where, _ = parts_of(process)
    return Hop(
        *_call_in(envelope, codec),
        where,
        envelope.attempt + len(history) - 1,
        died_at,
        0.0,
        ErrorCode.WORKER_LOST,
    )


def _call_in(envelope: Envelope, codec: Codec) -> tuple[str, str, str, str, str, str]:
    """What a hop tells of the message that it took."""
    try:
        type_name = codec.type_name(envelope.payload)
    except CodecError:
        type_name = ""
    return (
        envelope.id,
        envelope.to,
        envelope.from_id,
        envelope.thread_id,
        envelope.chain,
        type_name,
    )


def place(pid: int | None = None) -> str:
    """The host and a process of it, by default this one, as a hop names where it ran."""
    return f"{host()}:{os.getpid() if pid is None else pid}"


@cache
def host() -> str:
    """The name of this machine."""
    return socket.gethostname()
