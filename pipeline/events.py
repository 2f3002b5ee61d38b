"""What subscribers of a pump are told: one frozen object an event, never a payload."""

import logging
from collections.abc import Callable

import msgspec

from pipeline.messages import ErrorMessage

log = logging.getLogger(__name__)


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened in a conversation."""

    #: The thread id that `inject` returned.
    conversation_id: str
    #: The thread it happened on.
    thread_id: str


class ThreadOpened(Event, frozen=True, gc=False):
    """A conversation began, or went on after it had ended."""


class ThreadClosed(Event, frozen=True, gc=False):
    """Nothing of a conversation is waiting or running any more."""


class MessageReceived(Event, frozen=True, gc=False):
    """A message from outside was accepted."""

    to: str
    from_id: str


class MessageSent(Event, frozen=True, gc=False):
    """A handler's message is on its way; `to` is who asked, for an answer to the outside."""

    to: str
    from_id: str


class HandlerStarted(Event, frozen=True, gc=False):
    """A handler begins to run, or is handed to the executor that will run it."""

    listener: str
    attempt: int


class HandlerFinished(Event, frozen=True, gc=False):
    """A handler returned, and what it returned is on its way."""

    listener: str
    attempt: int
    duration_s: float
    #: Seconds from its message's sending to its start, by the clocks of both machines.
    waited_s: float | None = None


class HandlerFailed(Event, frozen=True, gc=False):
    """A handler raised, ran out of time, vanished or returned what can't be sent."""

    listener: str
    attempt: int
    duration_s: float
    error: ErrorMessage
    will_retry: bool
    #: As in `HandlerFinished`; None as well where no handler ran.
    waited_s: float | None = None


class DeadLettered(Event, frozen=True, gc=False):
    """A message is set aside: it can't be decoded, or its handler killed every process."""

    listener: str
    attempt: int
    error: ErrorMessage


Subscriber = Callable[[Event], object]


class Subscribers:
    """Who is told; what one of them raises is logged and harms nobody."""

    def __init__(self) -> None:
        #: Look whether there are any before you make an event.
        self.callbacks: list[Subscriber] = []

    def add(self, callback: Subscriber) -> Callable[[], None]:
        """Tell *callback* from now on; returns how to end that."""
        self.callbacks.append(callback)

        def remove() -> None:
            if callback in self.callbacks:
                self.callbacks.remove(callback)

        return remove

    def tell(self, event: Event) -> None:
        """Call each in turn."""
        for callback in tuple(self.callbacks):
            try:
                callback(event)
            except (KeyboardInterrupt, SystemExit):
                # Of whoever means to leave.
                raise
            except BaseException:
                log.exception("subscriber failed", extra={"action": "emit"})
