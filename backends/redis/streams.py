"""Stream entries: what each field means, and what is behind an entry."""

from collections.abc import Mapping
from typing import Any

import msgspec
import redis

from backends.codec import decoded
from backends.errors import CodecError
from backends.mailbox import Envelope, Returned
from backends.redis.keys import unescape
from backends.redis.records import Beginning, Records

#: What is kept of a record that is none of ours: so many of them, so many bytes each.
MAX_QUARANTINED, MAX_QUARANTINED_BYTES = 1000, 4096

Fields = Mapping[bytes, bytes]

_histories = msgspec.msgpack.Decoder(list[tuple[str, str]])


def message_of(records: Records, fields: Fields, entry: bytes = b"0") -> Envelope | Returned:
    """The message, or the end of a dispatch, that an entry tells of.

    Args:
        entry: its id; when it came is when a message was sent whose record leaves that out.

    Raises:
        CodecError: it is forged, damaged, or of no known kind.
    """
    try:
        if b"d" in fields:
            return _beginning(records, fields, int(entry.partition(b"-")[0]) / 1000)
        if b"m" in fields:
            return records.open_message(fields[b"m"])
        dispatch_id = unescape(fields[b"i"])
        if b"o" in fields:
            outcome = records.open_outcome(dispatch_id, fields[b"o"])
            return Returned(dispatch_id, outcome.envelope, outcome.body, outcome.hop)
        dispatch = records.open_dispatch(dispatch_id, fields[b"x"])
        reason, history = fields[b"y"].decode(), history_of(fields[b"h"])
    except KeyError as exc:
        raise CodecError(f"a stream entry is of no known kind: it has no {exc}") from exc
    except UnicodeDecodeError as exc:
        raise CodecError("a stream entry's id, chain or reason is not UTF-8") from exc
    return Returned(dispatch_id, dispatch.envelope, None, None, reason, history)


def _beginning(records: Records, fields: Fields, sent_at: float) -> Envelope:
    beginning = Beginning(unescape(fields[b"l"]), fields[b"d"], fields.get(b"m", b""))
    try:
        return records.open_beginning(beginning, sent_at)
    except ValueError as exc:
        raise CodecError(f"a stream entry begins no conversation: {exc}") from exc


def entries_of(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of one stream, from a reply to XREAD or XREADGROUP; deleted ones left out."""
    if not found:
        return []
    if isinstance(found, dict):
        (batches,) = found.values()
        rows = [row for batch in batches for row in batch]
    else:
        ((_, rows),) = found
    return [(entry, fields) for entry, fields in rows if fields]


def unparsed_entries_of(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The same, from what redis-py has not been given to parse; in RESP2 or RESP3.

    Raises:
        redis.InvalidResponse: that is no answer to a read.
    """
    if not found:
        return []
    try:
        ((_, rows),) = found.items() if isinstance(found, dict) else found
        return [
            (entry, dict(zip(fields[::2], fields[1::2], strict=True)))
            for entry, fields in rows
            if fields
        ]
    except (TypeError, ValueError) as exc:
        raise redis.InvalidResponse("no answer to a read") from exc


def history_of(raw: bytes) -> list[tuple[str, float]]:
    """Each death of a dispatch, as `Returned` tells it."""
    if not raw:
        return []
    rows = decoded(_histories, raw, "a history")
    try:
        return [(owner, int(moment) / 1000) for owner, moment in rows]
    except (ValueError, OverflowError) as exc:
        raise CodecError("a history can't be decoded: it tells no moment") from exc
