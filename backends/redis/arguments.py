"""What the mailbox's scripts take: openings and settlements, as flat arguments."""

from collections.abc import Mapping, Sequence

from backends.chains import COPY_MARK
from backends.mailbox import (
    Envelope,
    Gathering,
    Hop,
    Opening,
    Returned,
    Scatter,
    Settlement,
    Work,
)
from backends.protocol import SlotRecord
from backends.redis.keys import escape
from backends.redis.records import Beginning, Dispatch, Gather, Records
from backends.redis.streams import Fields

Arguments = list[str | bytes | int]
#: Of each listener whose messages go to the workers at once, what a worker must advertise.
Fingerprints = Mapping[str, str]


def dispatch_id_of(envelope: Envelope) -> str:
    """The id under which one attempt at a message is dispatched, the same in every pump."""
    return envelope.id if envelope.attempt == 1 else f"{envelope.id}~{envelope.attempt}"


def key_of(work: Work) -> str:
    """By what the stream entry of *work* is found again."""
    if isinstance(work, Gathering):
        return f"gather {work.reply_to.id}"
    return work.envelope.id if isinstance(work, Returned) else work.id


def dispatch_arguments(records: Records, envelope: Envelope, fingerprint: str) -> Arguments:
    """A dispatch: its id, and what the ledger keeps of it."""
    dispatch_id = dispatch_id_of(envelope)
    listener = envelope.to.partition(COPY_MARK)[0]
    record = records.dispatch(dispatch_id, Dispatch(envelope, fingerprint))
    return [escape(dispatch_id), f"{listener}\n".encode() + record]


def opening_arguments(
    records: Records, opening: Opening, max_slots: int, dispatched: Fingerprints
) -> Arguments:
    """An opening, for `open`."""
    first = opening.envelopes[0]
    arguments: Arguments = [
        escape(first.conversation),
        escape(first.scope),
        escape(opening.message_id or ""),
        max_slots,
        *_slots(opening.slots),
        len(opening.envelopes),
    ]
    for envelope in opening.envelopes:
        arguments += _sent(records, envelope, dispatched)
    return arguments


def beginning_arguments(beginning: Beginning, conversation: str) -> Arguments:
    """An opening that its slot tells of, for `begin`."""
    chain, slot, tag = beginning
    return [escape(conversation), escape(chain), slot, tag]


def settlement_arguments(
    records: Records,
    settlement: Settlement,
    max_slots: int,
    dispatched: Fingerprints,
    *,
    beginning: Fields | None = None,
) -> Arguments:
    """A settlement, for `settle`.

    Args:
        beginning: the fields of the entry that is settled, where it begins a conversation.
    """
    taken = settlement.taken
    is_gathering = isinstance(taken, Gathering)
    first = taken.reply_to if isinstance(taken, Gathering) else taken
    arguments: Arguments = [
        escape(first.conversation),
        escape(first.scope),
        escape(first.id) if is_gathering else "",
        max_slots,
        *(["", b""] if is_gathering else _hop(records, first.id, settlement.hop)),
        *([""] if beginning is None else [beginning.get(name, b"") for name in (b"l", b"p", b"d")]),
        *_slots(settlement.slots),
        len(settlement.sends),
    ]
    for envelope in settlement.sends:
        arguments += _sent(records, envelope, dispatched)
    arguments.append(len(settlement.scatters))
    for scatter in settlement.scatters:
        arguments += _scatter(records, scatter, dispatched)
    arguments.append(len(settlement.answers))
    arguments += [records.answer(first.scope, answer) for answer in settlement.answers]
    return arguments + _letter(records, settlement)


def _sent(records: Records, envelope: Envelope, dispatched: Fingerprints) -> Arguments:
    """What goes to the workers at once, or to whichever pump takes it."""
    fingerprint = dispatched.get(envelope.to)
    if fingerprint is None:
        return ["", records.message(envelope)]
    return dispatch_arguments(records, envelope, fingerprint)


def _slots(slots: Sequence[SlotRecord]) -> Arguments:
    parts: Arguments = [len(slots)]
    for slot in slots:
        parts += [escape(slot.thread_id), escape(slot.chain), slot.data]
    return parts


def _scatter(records: Records, scatter: Scatter, dispatched: Fingerprints) -> Arguments:
    gather_id = scatter.reply_to.id
    gather = Gather(scatter.reply_to, [member.scope for member in scatter.members])
    parts: Arguments = [
        escape(gather_id),
        records.gather(gather_id, gather),
        len(scatter.members),
    ]
    for member in scatter.members:
        parts.append(escape(member.scope))
        parts += _sent(records, member, dispatched)
    return parts


def _hop(records: Records, message_id: str, hop: Hop | None) -> Arguments:
    """What is kept of a message's hop; its id in any case, so that it is settled once."""
    return [escape(message_id), b"" if hop is None else records.hop(message_id, hop)]


def _letter(records: Records, settlement: Settlement) -> Arguments:
    letter = settlement.letter
    if letter is None:
        return ["", b""]
    return [escape(letter.envelope.id), records.letter(letter.envelope.id, letter)]
