"""Tells those who wait, and those who watch, what hops do."""

import logging
import time
from collections.abc import Container, Iterator
from itertools import chain
from typing import Protocol

from backends import chains
from backends.mailbox import Answer, Effects, Envelope, Hop, Opened, Opening, Settlement
from pipeline.events import (
    DeadLettered,
    Event,
    HandlerFailed,
    HandlerFinished,
    HandlerStarted,
    MessageReceived,
    MessageSent,
    Subscribers,
    ThreadClosed,
    ThreadOpened,
)
from pipeline.messages import WITHOUT_RUN, ErrorMessage
from pipeline.roster import name_of
from pipeline.routing import EXTERNAL
from pipeline.worker import Failed

log = logging.getLogger(__name__)


class HopObserver(Protocol):
    """Who wants to know what hops do."""

    @property
    def subscribers(self) -> Subscribers:
        """Who is told of events; while there are none, none are made."""
        ...

    def on_answer(self, scope: str, answer: Answer) -> None:
        """A message from outside was answered."""
        ...

    def on_scope_closed(self, scope: str, *, is_known: bool) -> None:
        """Everything a message from outside set off has ended; or the store has lost it."""
        ...

    def on_room(self) -> None:
        """The pump may have room for more."""
        ...


class Announcer:
    """Turns what comes in, and what hops did, into log lines, events and news.

    Args:
        handed_over: listeners whose messages go to their executor as they are sent.
    """

    def __init__(self, observer: HopObserver, handed_over: Container[str] = ()) -> None:
        self._observer = observer
        self._subscribers = observer.subscribers
        self._handed_over = handed_over

    def room(self) -> None:
        """There may be room for more."""
        self._observer.on_room()

    def opened(self, opening: Opening, opened: Opened) -> None:
        """Messages from outside came in."""
        if not self._subscribers.callbacks:
            return
        if opened.is_new:
            self._subscribers.tell(ThreadOpened(opened.conversation, opened.conversation))
        for envelope in opening.envelopes:
            to = name_of(envelope.to)
            self._subscribers.tell(
                MessageReceived(opened.conversation, envelope.thread_id, to, envelope.from_id)
            )
            self._sent(envelope)

    def _sent(self, envelope: Envelope) -> None:
        if envelope.to in self._handed_over:
            self.started(envelope)

    def started(self, envelope: Envelope) -> None:
        """A handler begins, or is handed to the executor that will run it."""
        if self._subscribers.callbacks:
            self._subscribers.tell(
                HandlerStarted(
                    envelope.conversation,
                    envelope.thread_id,
                    name_of(envelope.to),
                    envelope.attempt,
                )
            )

    def finished(self, envelope: Envelope, duration_s: float, hop: Hop | None) -> None:
        """A handler returned; *hop* tells when it began, else it has just ended."""
        if self._subscribers.callbacks:
            self._subscribers.tell(
                HandlerFinished(
                    envelope.conversation,
                    envelope.thread_id,
                    name_of(envelope.to),
                    envelope.attempt,
                    duration_s,
                    _waited_s(envelope, duration_s, hop),
                )
            )

    def failed(
        self, envelope: Envelope, outcome: Failed, hop: Hop | None, *, will_retry: bool
    ) -> None:
        """A handler did not return, or returned what can't be sent; *hop* as for `finished`."""
        log.log(
            logging.INFO if will_retry else logging.WARNING,
            "handler failed",
            extra=fields("fail", envelope) | {"code": outcome.error.code, "retry": will_retry},
        )
        if self._subscribers.callbacks:
            self._subscribers.tell(
                HandlerFailed(
                    envelope.conversation,
                    envelope.thread_id,
                    outcome.error.listener,
                    envelope.attempt,
                    outcome.duration_s,
                    outcome.error,
                    will_retry,
                    None
                    if outcome.error.code in WITHOUT_RUN
                    else _waited_s(envelope, outcome.duration_s, hop),
                )
            )

    def dead_lettered(self, envelope: Envelope, error: ErrorMessage) -> None:
        """A message is set aside."""
        log.error("message dead-lettered", extra=fields("dead-letter", envelope))
        if self._subscribers.callbacks:
            self._subscribers.tell(
                DeadLettered(
                    envelope.conversation,
                    envelope.thread_id,
                    error.listener,
                    envelope.attempt,
                    error,
                )
            )

    def settled(self, settlement: Settlement, effects: Effects) -> None:
        """A settlement was applied."""
        self.news(effects)
        if self._subscribers.callbacks:
            for event in _events(settlement, effects):
                self._subscribers.tell(event)
            for sent in _sends(settlement):
                self._sent(sent)

    def news(self, effects: Effects) -> None:
        """Scopes were answered or closed."""
        for scope, answer in effects.answered:
            self._observer.on_answer(scope, answer)
        for scope in effects.closed_scopes:
            self._observer.on_scope_closed(scope, is_known=scope not in effects.unknown_scopes)
        if effects.closed_conversations:
            self._observer.on_room()
        if effects.dropped_answers:
            log.info(
                "late answer dropped",
                extra={"action": "settle", "count": effects.dropped_answers},
            )


def fields(action: str, envelope: Envelope) -> dict[str, object]:
    """What a log line about a message tells."""
    return {
        "action": action,
        "listener": name_of(envelope.to),
        "thread_id": envelope.thread_id,
        "message_id": envelope.id,
        "attempt": envelope.attempt,
    }


def _waited_s(envelope: Envelope, duration_s: float, hop: Hop | None) -> float | None:
    """How long a message waited for its handler; clocks that differ must not make it negative."""
    if not envelope.sent_at:
        return None
    started_at = hop.started_at if hop is not None else time.time() - duration_s
    return max(0.0, started_at - envelope.sent_at)


def _sends(settlement: Settlement) -> list[Envelope]:
    members = (scatter.members for scatter in settlement.scatters)
    return list(chain(settlement.sends, *members))


def _events(settlement: Settlement, effects: Effects) -> Iterator[Event]:
    for sent in _sends(settlement):
        yield MessageSent(sent.conversation, sent.thread_id, name_of(sent.to), sent.from_id)
    taken = settlement.taken
    if isinstance(taken, Envelope):
        for _ in effects.answered:
            asker = chains.initiator_of(taken.chain) or EXTERNAL
            yield MessageSent(taken.conversation, taken.thread_id, asker, name_of(taken.to))
    for conversation in effects.closed_conversations:
        yield ThreadClosed(conversation, conversation)
