"""What the mailbox's scripts take: openings and settlements, as flat arguments."""

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
from backends.redis.records import Gather, Records

Arguments = list[str | bytes | int]


def dispatch_id_of(envelope: Envelope) -> str:
    """The id under which one attempt at a message is dispatched, the same in every pump."""
    return envelope.id if envelope.attempt == 1 else f"{envelope.id}~{envelope.attempt}"


def key_of(work: Work) -> str:
    """By what the stream entry of *work* is found again."""
    if isinstance(work, Gathering):
        return f"gather {work.reply_to.id}"
    return work.envelope.id if isinstance(work, Returned) else work.id


def opening_arguments(records: Records, opening: Opening, max_slots: int) -> Arguments:
    """An opening, for `open`."""
    first = opening.envelopes[0]
    return [
        escape(first.conversation),
        escape(first.scope),
        escape(opening.message_id or ""),
        max_slots,
        *_slots(opening.slots),
        len(opening.envelopes),
        *map(records.message, opening.envelopes),
    ]


def settlement_arguments(records: Records, settlement: Settlement, max_slots: int) -> Arguments:
    """A settlement, for `settle`."""
    taken = settlement.taken
    is_gathering = isinstance(taken, Gathering)
    first = taken.reply_to if isinstance(taken, Gathering) else taken
    arguments: Arguments = [
        escape(first.conversation),
        escape(first.scope),
        escape(first.id) if is_gathering else "",
        max_slots,
        *(["", b""] if is_gathering else _hop(records, first.id, settlement.hop)),
        *_slots(settlement.slots),
        len(settlement.sends),
        *map(records.message, settlement.sends),
        len(settlement.scatters),
    ]
    for scatter in settlement.scatters:
        arguments += _scatter(records, scatter)
    arguments.append(len(settlement.answers))
    arguments += [records.answer(first.scope, answer) for answer in settlement.answers]
    return arguments + _letter(records, settlement)


def _slots(slots: list[SlotRecord]) -> Arguments:
    parts: Arguments = [len(slots)]
    for slot in slots:
        parts += [escape(slot.thread_id), escape(slot.chain), slot.data]
    return parts


def _scatter(records: Records, scatter: Scatter) -> Arguments:
    gather_id = scatter.reply_to.id
    gather = Gather(scatter.reply_to, [member.scope for member in scatter.members])
    parts: Arguments = [
        escape(gather_id),
        records.gather(gather_id, gather),
        len(scatter.members),
    ]
    for member in scatter.members:
        parts += [escape(member.scope), records.message(member)]
    return parts


def _hop(records: Records, message_id: str, hop: Hop | None) -> Arguments:
    """What is kept of a message's hop; its id in any case, so that it is settled once."""
    return [escape(message_id), b"" if hop is None else records.hop(message_id, hop)]


def _letter(records: Records, settlement: Settlement) -> Arguments:
    letter = settlement.letter
    if letter is None:
        return ["", b""]
    return [escape(letter.envelope.id), records.letter(letter.envelope.id, letter)]
