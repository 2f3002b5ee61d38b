"""Publishes a dispatch that comes alone in the script that records it, past the publisher.

The publisher costs a thread's turn and a script: many dispatches share them, one would not.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from backends.chains import COPY_MARK
from backends.mailbox import Carrier, Envelope
from backends.redis.arguments import Fingerprints, dispatch_id_of
from backends.redis.keys import escape
from backends.redis.pipeliner import Pipeliner


class LonePublication(NamedTuple):
    """A dispatch that may leave with the command that records it."""

    listener: str
    dispatch_id: str
    reply: "asyncio.Future[Any]"

    @property
    def is_published(self) -> bool:
        """Whether it has left."""
        reply = self.reply
        is_told = reply.done() and not reply.cancelled() and reply.exception() is None
        return is_told and reply.result() == 1


class LonePublisher:
    """Used from a mailbox's event loop.

    Args:
        scripts: that run the mailbox's commands.
    """

    def __init__(self, scripts: Pipeliner) -> None:
        #: Who knows what carries a dispatch; None where nobody does.
        self.carrier: Carrier | None = None
        self._scripts = scripts

    def publish(self, sent: Sequence[Envelope], dispatched: Fingerprints) -> LonePublication | None:
        """Have it leave if the command just given records it alone; Redis decides.

        Args:
            sent: all that the command sends.
            dispatched: listeners whose messages it records as dispatches.
        """
        carrier = self.carrier
        # A command that waits for others is one of many.
        if carrier is None or len(sent) != 1 or not self._scripts.is_next_alone:
            return None
        envelope = sent[0]
        if envelope.to not in dispatched:
            return None
        listener, dispatch_id = envelope.to.partition(COPY_MARK)[0], dispatch_id_of(envelope)
        message = carrier.message_for(listener, dispatch_id)
        if message is None:
            return None
        reply = self._scripts.run("publish_alone", escape(dispatch_id), *message)
        return LonePublication(listener, dispatch_id, reply)

    def was_published(self, publication: LonePublication | None) -> bool:
        """Whether nothing is left to publish, once the command is replied to; tells its carrier."""
        if publication is None or not publication.is_published:
            return False
        if self.carrier is not None:
            self.carrier.was_sent(publication.listener, publication.dispatch_id)
        return True
