"""What the mailbox writes into Redis: each kind of record, sealed to its place."""

from typing import NamedTuple, TypeVar

import msgspec

from backends import chains
from backends.codec import SIGNED_BYTES, Codec, decoded
from backends.mailbox import Answer, Envelope, Hop, Letter, Opening
from backends.protocol import SlotRecord


class Beginning(NamedTuple):
    """A message that begins a conversation: the rest of it follows from its slot."""

    chain: str
    slot: bytes
    #: Binds the two to each other; empty where nothing is signed.
    tag: bytes


class Dispatch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A hop that a worker is to run."""

    envelope: Envelope
    #: What a worker must advertise to run it.
    fingerprint: str


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came of a dispatch; `body` is opaque here."""

    envelope: Envelope
    body: bytes
    hop: Hop


class Gather(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A scatter that waits for its members: whom to tell, and their scopes in order."""

    reply_to: Envelope
    scopes: list[str]


T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_envelopes = msgspec.msgpack.Decoder(Envelope)
_dispatches = msgspec.msgpack.Decoder(Dispatch)
_outcomes = msgspec.msgpack.Decoder(Outcome)
_answers = msgspec.msgpack.Decoder(Answer)
_gathers = msgspec.msgpack.Decoder(Gather)
_hops = msgspec.msgpack.Decoder(Hop)
_letters = msgspec.msgpack.Decoder(Letter)


class Records:
    """Seals and opens the records of one organism.

    Every `open_…` raises `CodecError` for what is forged, damaged, or a record of another
    kind or place.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def message(self, envelope: Envelope) -> bytes:
        """A message, for the inbox."""
        return self._codec.seal(_encoder.encode(envelope), "message")

    def open_message(self, record: bytes) -> Envelope:
        """The message behind an inbox entry."""
        return _decoded(_envelopes, self._codec.open(record, "message"))

    def beginning(self, opening: Opening) -> Beginning | None:
        """A message that begins a conversation, as far as it does not follow from its slot.

        None where it is not such a message, or would not follow.
        """
        if len(opening.envelopes) != 1 or len(opening.slots) != 1 or opening.message_id is not None:
            return None
        envelope, slot = opening.envelopes[0], opening.slots[0]
        if not _is_first(envelope, slot) or not self._codec.is_slot_of(envelope.payload, slot.data):
            return None
        chain, data = envelope.chain, slot.data
        if not self._codec.signs:
            return Beginning(chain, data, b"")
        body = _body_of_beginning(chain, data)
        tag = self._codec.seal(body, "beginning")[: -len(body)]
        return Beginning(chain, data, tag)

    def open_beginning(self, beginning: Beginning) -> Envelope:
        """The message behind it."""
        chain, slot, tag = beginning
        if tag or self._codec.signs:
            self._codec.open(tag + _body_of_beginning(chain, slot), "beginning")
        conversation, from_id, to = chains.first_hops(chain)
        payload = self._codec.slot_payload(slot, conversation)
        ids = conversation, conversation, conversation, chain, conversation
        return Envelope(*ids, to, from_id, payload, is_from_outside=True)

    def dispatch(self, dispatch_id: str, dispatch: Dispatch) -> bytes:
        """A dispatch, for the ledger."""
        return self._codec.seal(_encoder.encode(dispatch), "dispatch", dispatch_id)

    def open_dispatch(self, dispatch_id: str, record: bytes) -> Dispatch:
        """The dispatch that is recorded under this id."""
        return _decoded(_dispatches, self._codec.open(record, "dispatch", dispatch_id))

    def outcome(self, dispatch_id: str, outcome: Outcome) -> bytes:
        """An outcome, for whoever settles it."""
        return self._codec.seal(_encoder.encode(outcome), "outcome", dispatch_id)

    def open_outcome(self, dispatch_id: str, record: bytes) -> Outcome:
        """What came of this dispatch."""
        return _decoded(_outcomes, self._codec.open(record, "outcome", dispatch_id))

    def answer(self, scope: str, answer: Answer) -> bytes:
        """The answer of one scope."""
        return self._codec.seal(_encoder.encode(answer), "answer", scope)

    def open_answer(self, scope: str, record: bytes) -> Answer:
        """What this scope was answered."""
        return _decoded(_answers, self._codec.open(record, "answer", scope))

    def gather(self, gather_id: str, gather: Gather) -> bytes:
        """A scatter that waits."""
        return self._codec.seal(_encoder.encode(gather), "gather", gather_id)

    def open_gather(self, gather_id: str, record: bytes) -> Gather:
        """The scatter under this id."""
        return _decoded(_gathers, self._codec.open(record, "gather", gather_id))

    def hop(self, message_id: str, hop: Hop) -> bytes:
        """What became of one message's hop."""
        return self._codec.seal(_encoder.encode(hop), "hop", message_id)

    def open_hop(self, message_id: str, record: bytes) -> Hop:
        """The hop that is kept under this message's id."""
        return _decoded(_hops, self._codec.open(record, "hop", message_id))

    def letter(self, letter_id: str, letter: Letter) -> bytes:
        """A dead letter."""
        return self._codec.seal(_encoder.encode(letter), "letter", letter_id)

    def open_letter(self, letter_id: str, record: bytes) -> Letter:
        """The dead letter under this id."""
        return _decoded(_letters, self._codec.open(record, "letter", letter_id))


def _is_first(envelope: Envelope, slot: SlotRecord) -> bool:
    """True for the only message of a new conversation that has no name of its own."""
    conversation, chain = envelope.conversation, envelope.chain
    return (
        conversation == envelope.id == envelope.scope == envelope.thread_id == slot.thread_id
        and chain == slot.chain
        and chain.endswith(
            chains.conversation_chain("", conversation, envelope.from_id, envelope.to)
        )
        and envelope.attempt == 1
        and envelope.is_from_outside
        # A trace follows from nothing.
        and envelope.trace is None
    )


def _body_of_beginning(chain: str, slot: bytes) -> bytes:
    # The slot's own tag stands for its bytes.
    return slot[:SIGNED_BYTES] + chain.encode()


def _decoded(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    return decoded(decoder, body, "a record")
