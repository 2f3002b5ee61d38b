"""Where messages go: what one hop does to the system, as a plan a mailbox applies.

Nothing here waits or stores.
"""

import time
from collections.abc import Callable
from hashlib import blake2b

import msgspec

from backends import chains
from backends.codec import Codec
from backends.errors import CodecError
from backends.mailbox import Answer, Envelope, Gathering, Opening, Scatter, Settlement
from backends.protocol import SlotRecord
from pipeline.errors import PayloadTypeError, PipelineError, UnknownListenerError
from pipeline.messages import ErrorCode, ErrorMessage
from pipeline.organism import Limits, Listener
from pipeline.roster import Roster, check_type, name_of
from pipeline.trace_context import gathered
from pipeline.wire import encode_gathered
from pipeline.worker import Reply

#: Sender of what the pump itself has to say.
SYSTEM = "system"
#: Who asks where no listener does.
EXTERNAL = "external"

#: An id tells how a message came about until it would be longer than this; then it is hashed.
MAX_ID_CHARS = 64


class HopRefusedError(PipelineError):
    """What a handler returned can't be sent, so nothing of it is; its caller is told."""


class Router:
    """Plans the hops of one organism.

    Args:
        clock: tells when a message was sent, in seconds since the epoch.
    """

    def __init__(
        self,
        roster: Roster,
        codec: Codec,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.roster = roster
        self.codec = codec
        self.clock = clock
        self._limits = limits

    def plan_opening(  # noqa: PLR0913 - an opening has that many sides
        self,
        to: str,
        payload: bytes,
        *,
        from_id: str,
        thread_id: str,
        chain: str,
        scope: str,
        message_id: str | None,
    ) -> Opening:
        """A message from outside, as it enters.

        Args:
            thread_id: the conversation's.
            chain: what that stands for; it ends in *from_id* and *to*.
            scope: what the ids derive from; new to the mailbox.
        """
        envelopes: list[Envelope] = []
        slots: list[SlotRecord] = []
        for copy, (listener_id, listener) in enumerate(self.roster.named(to)):
            copy_chain = _copy_of(chain, listener_id) if copy else chain
            envelope = Envelope(
                derived_id(f"{scope}{_COPY}", copy) if copy else scope,
                thread_id,
                scope,
                copy_chain,
                chains.thread_id_of(copy_chain) if copy else thread_id,
                listener_id,
                from_id,
                payload,
                is_from_outside=True,
                sent_at=self.clock(),
            )
            envelopes.append(envelope)
            slots.append(self.slot(envelope, listener))
        # Tuples of such the garbage collector passes over, however many openings wait.
        return Opening(tuple(envelopes), tuple(slots), message_id)

    def plan(self, taken: Envelope, replies: list[Reply]) -> Settlement:
        """What a handler's replies do.

        Raises:
            HopRefusedError: one of them can't be sent.
        """
        if not replies:
            return Settlement(taken, [], [], [], [])
        size = 0
        for reply in replies:
            size += sum(map(len, reply.payloads))
        if size > self._limits.max_hop_bytes:
            raise HopRefusedError(
                f"{name_of(taken.to)} returned {size} bytes,"
                f" over limits.max_hop_bytes ({self._limits.max_hop_bytes})"
            )
        hop = self._hop(taken, self._limits.max_scatter)
        for position, reply in enumerate(replies):
            try:
                hop.send(derived_id(taken.id, position), reply)
            except (UnknownListenerError, PayloadTypeError, CodecError) as exc:
                raise HopRefusedError(str(exc)) from exc
        return hop.settlement

    def plan_error(self, taken: Envelope, error: ErrorMessage) -> Settlement:
        """What a failed hop does: tell the nearest caller that takes errors."""
        hop = self._hop(taken, 0)
        hop.fail(self.codec.encode(error))
        return hop.settlement

    def plan_gathering(self, gathering: Gathering) -> Settlement:
        """Turn a finished scatter into the message that its scatterer waits for.

        Raises:
            CodecError: an answer can't be decoded.
        """
        reply_to = gathering.reply_to
        payload = encode_gathered(self.codec, gathering.answers)
        now = self.clock()
        trace = reply_to.trace
        if trace is not None:
            answers = (answer.trace for answer in gathering.answers if answer is not None)
            trace = gathered(trace, answers)
        envelope = msgspec.structs.replace(reply_to, payload=payload, sent_at=now, trace=trace)
        slot = self.slot(envelope, self.roster.get(envelope.to))
        return Settlement(gathering, [slot], [envelope], [], [])

    def slot(self, envelope: Envelope, listener: Listener | None) -> SlotRecord:
        """The slot that remembers a message in the thread it is delivered on.

        Args:
            listener: whom it is addressed to; None for whoever asked from outside.
        """
        to = envelope.to if listener is None else listener.name
        thread_id, from_id = envelope.thread_id, envelope.from_id
        data = self.codec.seal_slot(
            envelope.payload,
            thread_id,
            from_id,
            to,
            own_name=to if listener is not None and listener.agent else None,
            is_self_call=from_id == to,
        )
        return SlotRecord(thread_id, envelope.chain, data)

    def _hop(self, taken: Envelope, max_scatter: int) -> "_Hop":
        listener = self.roster.get(taken.to)
        sender = name_of(taken.to) if listener is None else listener.name
        return _Hop(self, taken, listener, sender, max_scatter, Settlement(taken, [], [], [], []))

    def caller(self, chain: str) -> "_Caller":
        """Who called the newest hop of *chain*."""
        before, _, segment = chain.rpartition(".")[0].rpartition(".")
        if segment.startswith(chains.MEMBER_MARK):
            return _Caller(chain, "", None, is_scatterer=True)
        listener_id = chains.unescape_hop(segment)
        if not before or before.rpartition(".")[2].startswith(chains.CONVERSATION_MARK):
            return _Caller(chain, listener_id, None)
        return _Caller(f"{before}.{segment}", listener_id, self.roster.get(listener_id))


class _Caller(msgspec.Struct, frozen=True):
    """A listener on its thread, or whoever waits for the scope's answer."""

    chain: str
    id: str
    listener: Listener | None
    is_scatterer: bool = False


class _Hop(msgspec.Struct, frozen=True, gc=False):
    """The plan of one hop while it is being made."""

    _router: Router
    _taken: Envelope
    _listener: Listener | None
    _sender: str
    _max_scatter: int
    settlement: Settlement

    def send(self, base: str, reply: Reply) -> None:
        """Plan one reply; *base* is the id of its (first) message."""
        if len(reply.payloads) != 1 and (reply.to is None or not reply.is_scatter):
            raise HopRefusedError(
                f"{self._sender} sent {len(reply.payloads)} payloads in one reply"
            )
        if reply.to is None:
            self._respond(base, reply.payloads[0])
        elif not self._is_peer(reply.to):
            self._refuse(base, reply.to)
        elif reply.is_scatter:
            self._scatter(base, reply.to, reply.payloads)
        else:
            self._forward(base, reply.to, reply.payloads[0])

    def fail(self, payload: bytes) -> None:
        """Plan an error: it passes every caller that takes none."""
        chain = self._taken.chain
        caller = self._router.caller(chain)
        while caller.listener is not None and not caller.listener.takes_errors:
            chain = caller.chain
            caller = self._router.caller(chain)
        if caller.listener is None:
            self._leave(chain, caller, payload, is_error=True)
        else:
            self._return(derived_id(self._taken.id, 0), caller, payload)

    def _respond(self, base: str, payload: bytes) -> None:
        self._router.codec.type_of(payload)
        caller = self._router.caller(self._taken.chain)
        if caller.listener is None:
            self._leave(self._taken.chain, caller, payload, is_error=False)
        else:
            self._return(base, caller, payload)

    def _leave(self, chain: str, caller: _Caller, payload: bytes, *, is_error: bool) -> None:
        """Answer the scope: a scatterer, or the outside, which the thread remembers."""
        trace = self._taken.trace if caller.is_scatterer else None
        self.settlement.answers.append(Answer(is_error, payload, trace))
        if not caller.is_scatterer:
            envelope = self._envelope("", caller.id, chain, payload)
            self.settlement.slots.append(self._router.slot(envelope, None))

    def _return(self, envelope_id: str, caller: _Caller, payload: bytes) -> None:
        envelope = self._envelope(envelope_id, caller.id, caller.chain, payload)
        self._send(envelope, caller.listener)

    def _is_peer(self, to: str) -> bool:
        sender = self._listener
        return sender is None or not sender.agent or to in sender.peers or to == sender.name

    def _refuse(self, base: str, to: str) -> None:
        message = f"{self._sender} may not write to {to!r}: not one of its peers"
        error = ErrorMessage(ErrorCode.NOT_A_PEER, message, self._sender, self._taken.attempt)
        payload = self._router.codec.encode(error)
        to, chain = self._taken.to, self._taken.chain
        self._send(self._envelope(base, to, chain, payload, from_id=SYSTEM), self._listener)

    def _forward(self, base: str, to: str, payload: bytes) -> None:
        taken = self._taken
        payload_type = self._router.codec.type_of(payload)
        for copy, (listener_id, listener) in enumerate(self._router.roster.named(to)):
            check_type(payload_type, listener, self._sender)
            if listener_id == taken.to:
                # A listener that sends to itself iterates: it stays on its thread, and
                # its answer goes to whoever called it first.
                chain, thread_id = taken.chain, taken.thread_id
            else:
                chain = chains.extend(taken.chain, listener_id)
                thread_id = chains.thread_id_of(chain)
            envelope = Envelope(
                derived_id(f"{base}{_COPY}", copy) if copy else base,
                taken.conversation,
                taken.scope,
                chain,
                thread_id,
                listener_id,
                self._sender,
                payload,
                sent_at=self._router.clock(),
                trace=taken.trace,
            )
            self._send(envelope, listener)

    def _scatter(self, base: str, to: str, payloads: list[bytes]) -> None:
        named = self._router.roster.named(to)
        if len(named) > 1:
            raise HopRefusedError(f"{self._sender} scattered to {to!r}, which listeners share")
        if len(payloads) > self._max_scatter:
            raise HopRefusedError(
                f"{self._sender} scattered {len(payloads)} payloads,"
                f" over limits.max_scatter ({self._max_scatter})"
            )
        listener_id, listener = named[0]
        members: list[Envelope] = []
        for position, payload in enumerate(payloads):
            check_type(self._router.codec.type_of(payload), listener, self._sender)
            member_id = derived_id(f"{base}{_MEMBER}", position)
            chain = chains.member_chain(self._taken.chain, member_id, listener_id)
            member = self._envelope(member_id, listener_id, chain, payload, scope=member_id)
            members.append(member)
            self.settlement.slots.append(self._router.slot(member, listener))
        reply_to = self._envelope(base, self._taken.to, self._taken.chain, b"", from_id=to)
        self.settlement.scatters.append(Scatter(reply_to, members))

    def _send(self, envelope: Envelope, listener: Listener | None) -> None:
        self.settlement.sends.append(envelope)
        self.settlement.slots.append(self._router.slot(envelope, listener))

    def _envelope(  # noqa: PLR0913 - an envelope has that many sides
        self,
        envelope_id: str,
        to: str,
        chain: str,
        payload: bytes,
        *,
        scope: str | None = None,
        from_id: str | None = None,
    ) -> Envelope:
        taken = self._taken
        if chain == taken.chain:
            thread_id = taken.thread_id
        elif chains.is_own_thread(chain):
            thread_id = taken.conversation
        else:
            thread_id = chains.thread_id_of(chain)
        return Envelope(
            envelope_id,
            taken.conversation,
            taken.scope if scope is None else scope,
            chain,
            thread_id,
            to,
            self._sender if from_id is None else from_id,
            payload,
            sent_at=self._router.clock(),
            trace=taken.trace,
        )


def _copy_of(chain: str, listener_id: str) -> str:
    """*chain*, with another listener of the same name at its end."""
    return chains.extend(chain.rpartition(".")[0], listener_id)


#: What sets copies of a message and members of a scatter apart from what the hop that has their
#: parent's id sends itself.
_COPY, _MEMBER = ".c", ".m"


def derived_id(parent: str, position: int) -> str:
    """The id of what *parent* sent at *position*; the same however often it runs."""
    path = f"{parent}.{position}"
    if len(path) <= MAX_ID_CHARS:
        return path
    return blake2b(path.encode(), digest_size=16).hexdigest()


def scope_named(message_id: str) -> str:
    """The scope a message from outside opens under an id of its sender's.

    Hashed: the ids of dispatches derive from it, and these stand in lists and end in marks
    that the sender knows nothing of.
    """
    return blake2b(message_id.encode(), digest_size=16).hexdigest()
