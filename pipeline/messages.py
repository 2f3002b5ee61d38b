"""What handlers see and return, and the two payloads the pump itself sends."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import msgspec

from pipeline.errors import HandlerError


class HandlerMetadata(msgspec.Struct, frozen=True, gc=False):
    """How the message at hand came; the second argument of every handler."""

    thread_id: str
    from_id: str
    #: The listener's own name; set for agents only.
    own_name: str | None = None
    is_self_call: bool = False
    #: For agents: what their peers do and accept, as text for a prompt.
    usage_instructions: str = ""
    #: 1 on the first run of this message.
    attempt: int = 1


class HandlerResponse(msgspec.Struct, frozen=True):
    """One message a handler sends: forward it, answer the caller, or scatter.

    Build answers with `respond` and scatters with `scatter`; the plain
    constructor forwards `payload` to the listener `to`.
    """

    payload: Any
    #: The listener's name; None answers the caller.
    to: str | None
    is_scatter: bool = False

    @classmethod
    def respond(cls, payload: Any) -> Self:
        """Answer whoever called this handler."""
        return cls(payload, None)

    @classmethod
    def scatter(cls, payloads: Sequence[Any], to: str) -> Self:
        """Send each payload to *to* in a sub-thread of its own.

        The scattering handler is called once more, with `Gathered`, when all
        members have answered, failed or ended; at once if there are none.
        """
        return cls(tuple(payloads), to, True)  # noqa: FBT003 - the field follows its name above

    @property
    def is_response(self) -> bool:
        """True when this answers the caller."""
        return self.to is None


class ErrorCode(StrEnum):
    """Why a hop failed."""

    RAISED = "raised"
    TIMEOUT = "timeout"
    #: The process that ran the handler died.
    WORKER_LOST = "worker_lost"
    #: The handler returned something that is no `HandlerResponse`, or can't be sent.
    BAD_RETURN = "bad_return"
    #: The message itself can't be decoded or delivered.
    UNDELIVERABLE = "undeliverable"
    #: An agent wrote to a listener that is not its peer.
    NOT_A_PEER = "not_a_peer"


#: Where no handler ran to an end that is known.
WITHOUT_RUN = (ErrorCode.WORKER_LOST, ErrorCode.UNDELIVERABLE)


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """A failed call, as a payload: what a listener with `accepts_errors` receives."""

    code: str
    message: str
    #: Who failed.
    listener: str
    attempt: int = 1
    traceback: str = ""

    def to_exception(self) -> HandlerError:
        """The same as an exception."""
        return HandlerError(self.message, self.listener, self.code, self.attempt, self.traceback)


@dataclass(frozen=True, slots=True)
class Gathered:
    """All answers of one scatter, in the order scattered.

    `results` has one entry per payload: the answer, or None where the member
    failed (then `errors` has its index) or ended without answering.
    """

    results: list[Any] = field(default_factory=list)
    errors: dict[int, HandlerError] = field(default_factory=dict)
