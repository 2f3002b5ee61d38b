"""The wire codec: every byte that another process may read is written here.

A *typed payload* is a MessagePack array of the type's name and the dataclass. A
*record* is a typed payload or a larger body behind a header: format version, flags,
and with a signing key a tag. Nothing is unpickled unless the organism says so and signs.
"""

import hmac
import pickle
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal, TypeVar

import msgspec

from backends.errors import CodecError, RecordVersionError, SignatureError
from backends.slots import BufferSlot, SlotMetadata
from backends.types import TypeRegistry, name_of

#: Format version, the first byte of every record.
VERSION = 2
_UNSIGNED = bytes((VERSION, 0))
_SIGNED = bytes((VERSION, 1))
#: 128 bits: forging needs some 2**127 tries (RFC 7693, keyed BLAKE2b).
TAG_BYTES = 16
#: What stands before the body of a signed record.
SIGNED_BYTES = len(_SIGNED) + TAG_BYTES
_MAX_KEY_BYTES = 64

Format = Literal["msgpack", "pickle"]

T = TypeVar("T")
#: What msgspec raises over bytes that don't fit; its `MsgspecError` is not all of it.
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
#: What msgspec says before it repeats a value.
_TELLS_VALUE = ("Invalid enum value", "Invalid value")
#: Characters of a name, or of somebody else's error, that ours repeat.
_SHOWN_CHARS = 200

_encoder = msgspec.msgpack.Encoder()
_TypedPayload = tuple[str, msgspec.Raw]
_typed_decoder: msgspec.msgpack.Decoder[_TypedPayload] = msgspec.msgpack.Decoder(_TypedPayload)
#: Every type this process has declared or encoded.
_process_types = TypeRegistry()


class _SlotBody(msgspec.Struct, array_like=True, frozen=True, gc=False):
    payload: msgspec.Raw
    thread_id: str
    from_id: str
    to_id: str
    slot_index: int
    #: Seconds since the epoch, or the text of a slot made elsewhere.
    timestamp: float | str
    #: Empty where it is the bare name of the payload's type.
    payload_type: str = ""
    own_name: str | None = None
    is_self_call: bool = False
    usage_instructions: str = ""


_slot_decoder = msgspec.msgpack.Decoder(_SlotBody)


class Codec:
    """Encodes payloads, seals records and takes both apart again.

    Args:
        keys: signing keys; the first signs, all verify. Empty: records carry no tag.
        realm: what the keys are for, usually the backend's prefix; part of every tag,
            so a record of one tenant is no record of another.
        types: what may come off the wire; by default what this process has declared.

    Raises:
        ValueError: *format* is `pickle` and there is no key, or is neither.
    """

    def __init__(
        self,
        *,
        keys: Sequence[str | bytes] = (),
        realm: str = "",
        format: Format = "msgpack",  # noqa: A002 - the name of the setting
        types: TypeRegistry | None = None,
    ) -> None:
        if format not in ("msgpack", "pickle"):
            raise ValueError(f"serialization.format must be msgpack or pickle, got {format!r}")
        self._keys = [_key_bytes(key) for key in keys if key]
        if format == "pickle" and not self._keys:
            raise ValueError(
                "serialization.format: pickle needs serialization.signing_key: whoever can"
                " write an unsigned record could run code here"
            )
        self._pickles = format == "pickle"
        self._realm = realm
        self.types = types if types is not None else _process_types
        self._types_by_class = self.types.by_class
        self._types_by_name = self.types.by_name

    @property
    def signs(self) -> bool:
        """True when records carry a tag, and one without is refused."""
        return bool(self._keys)

    @property
    def pickles(self) -> bool:
        """True when payloads are pickled, so that nobody may look into one without unpickling."""
        return self._pickles

    def encode(self, payload: Any) -> bytes:
        """*payload*, a dataclass instance, as a typed payload.

        Its class may come off the wire from now on.

        Raises:
            CodecError: not a dataclass, or a value in it can't be encoded.
        """
        entry = self._types_by_class.get(type(payload)) or self.types.declare(type(payload))
        name, form = entry.name, entry.form
        try:
            if self._pickles and form is None:
                return _encoder.encode((name, pickle.dumps(payload)))
            return _encoder.encode((name, form.to_wire(self, payload) if form else payload))
        except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as exc:
            raise CodecError(f"{name} can't be encoded: {exc}") from exc
        except pickle.PicklingError as exc:
            raise CodecError(f"{name} can't be pickled") from exc

    def decode(self, typed: bytes | msgspec.Raw) -> Any:
        """The payload behind a typed payload.

        Raises:
            UnknownTypeError: its type was not declared.
            CodecError: the bytes are damaged or don't fit the type.
        """
        name, raw = _split(typed)
        entry = self._types_by_name.get(name) or self.types.entry(name)
        try:
            if self._pickles and entry.form is None:
                value = pickle.loads(msgspec.msgpack.decode(raw, type=bytes))  # noqa: S301 - opt-in, and its record's tag was verified
            else:
                value = entry.decoder.decode(raw)
            return entry.form.from_wire(self, value) if entry.form else value
        except CodecError:
            raise
        except _UNDECODABLE as exc:
            raise CodecError(f"{name} can't be decoded: {_reason(exc)}") from exc
        except Exception as exc:
            # A class's own __post_init__ may raise anything at all.
            text = f"{type(exc).__name__}: {exc}"[:_SHOWN_CHARS]
            raise CodecError(f"{name} can't be built: {text}") from exc

    def type_of(self, typed: bytes | msgspec.Raw) -> type:
        """The class of a typed payload, without decoding it.

        Raises:
            CodecError: as `decode`.
        """
        name, _ = _split(typed)
        return (self._types_by_name.get(name) or self.types.entry(name)).cls

    def type_name(self, typed: bytes | msgspec.Raw) -> str:
        """The name that a typed payload gives its class.

        Raises:
            CodecError: the bytes are damaged.
        """
        return _split(typed)[0]

    def seal(self, body: bytes, *place: str) -> bytes:
        """*body* as a record that is only valid at *place* (kind, then ids)."""
        if not self._keys:
            return _UNSIGNED + body
        return _SIGNED + self._tag(self._keys[0], body, place) + body

    def open(self, record: bytes, *place: str) -> bytes:
        """The body of a record sealed at the same *place*.

        Raises:
            RecordVersionError: written by a release with another format.
            SignatureError: unsigned though a key is set, signed though none is, or forged.
        """
        if len(record) < len(_SIGNED) or record[0] != VERSION:
            found = record[0] if record else "nothing"
            raise RecordVersionError(
                f"record format {found} is unknown; this release reads {VERSION}"
            )
        if record[1] not in (0, 1):
            raise RecordVersionError(f"record flags {record[1]} are unknown to this release")
        signed = record[1] == 1
        if signed != self.signs:
            raise SignatureError(
                "a signed record, but no serialization.signing_key is set"
                if signed
                else "an unsigned record, but serialization.signing_key is set"
            )
        if not signed:
            return record[2:]
        tag, body = record[2:SIGNED_BYTES], record[SIGNED_BYTES:]
        if any(hmac.compare_digest(tag, self._tag(key, body, place)) for key in self._keys):
            return body
        raise SignatureError(f"a {place[0] if place else ''} record's signature does not match")

    def _tag(self, key: bytes, body: bytes, place: Sequence[str]) -> bytes:
        mac = blake2b(_encoder.encode((self._realm, *place)), digest_size=TAG_BYTES, key=key)
        mac.update(body)
        return mac.digest()

    def seal_slot(  # noqa: PLR0913 - one argument for each thing a slot tells
        self,
        typed: bytes,
        thread_id: str,
        from_id: str,
        to_id: str,
        *,
        own_name: str | None = None,
        is_self_call: bool = False,
        usage_instructions: str = "",
    ) -> bytes:
        """A slot made now, whose payload is already encoded, for its thread's buffer.

        Its index is the position it gets there.
        """
        body = _SlotBody(
            msgspec.Raw(typed),
            thread_id,
            from_id,
            to_id,
            -1,
            time.time(),
            "",
            own_name,
            is_self_call,
            usage_instructions,
        )
        record = _encoder.encode(body)
        return self.seal(record, "slot") if self._keys else _UNSIGNED + record

    def seal_whole_slot(self, slot: BufferSlot) -> bytes:
        """*slot* as a record, its metadata kept to the letter."""
        metadata = slot.metadata
        body = _SlotBody(
            msgspec.Raw(self.encode(slot.payload)),
            metadata.thread_id,
            metadata.from_id,
            metadata.to_id,
            metadata.slot_index,
            metadata.timestamp,
            metadata.payload_type,
            metadata.own_name,
            metadata.is_self_call,
            metadata.usage_instructions,
        )
        return self.seal(_encoder.encode(body), "slot")

    def is_slot_of(self, typed: bytes, record: bytes) -> bool:
        """True where *record*, a slot that this codec has sealed, holds *typed*."""
        # Behind the header an array begins, and that with the payload.
        before = (SIGNED_BYTES if self._keys else len(_UNSIGNED)) + 1
        return bool(typed) and record.startswith(typed, before)

    def slot_payload(self, record: bytes, thread_id: str) -> bytes:
        """The typed payload of a slot, and nothing else of it.

        Raises:
            SignatureError, CodecError: as `open_slot`.
        """
        return bytes(self._slot_body(record, thread_id).payload)

    def _slot_body(self, record: bytes, thread_id: str | None) -> _SlotBody:
        body = decoded(_slot_decoder, self.open(record, "slot"), "a slot")
        if self.signs and thread_id not in (None, body.thread_id):
            raise SignatureError(
                f"a slot of thread {body.thread_id[:_SHOWN_CHARS]!r} stands in thread {thread_id!r}"
            )
        return body

    def open_slot(
        self, record: bytes, thread_id: str | None = None
    ) -> tuple[SlotMetadata, msgspec.Raw]:
        """A slot's metadata and its typed payload, not yet decoded.

        Args:
            thread_id: the thread it was found in, where that is known.

        Raises:
            SignatureError: as `open`, or signed for another thread than *thread_id*.
            CodecError: as `open`, or the bytes are damaged.
        """
        body = self._slot_body(record, thread_id)
        metadata = SlotMetadata(
            thread_id=body.thread_id,
            from_id=body.from_id,
            to_id=body.to_id,
            slot_index=body.slot_index,
            timestamp=_iso(body.timestamp),
            payload_type=body.payload_type or _split(body.payload)[0].rpartition(".")[2],
            own_name=body.own_name,
            is_self_call=body.is_self_call,
            usage_instructions=body.usage_instructions,
        )
        return metadata, body.payload


def _iso(timestamp: float | str) -> str:
    if isinstance(timestamp, str):
        return timestamp
    try:
        return datetime.fromtimestamp(timestamp, UTC).isoformat()
    except (ValueError, OverflowError, OSError) as exc:
        # Which of them depends on how far beyond all calendars it is.
        raise CodecError(f"a slot's timestamp is no moment: {timestamp}") from exc


def _key_bytes(key: str | bytes) -> bytes:
    raw = key.encode() if isinstance(key, str) else key
    return raw if len(raw) <= _MAX_KEY_BYTES else blake2b(raw).digest()


def decoded(decoder: msgspec.msgpack.Decoder[T], raw: bytes | msgspec.Raw, what: str) -> T:
    """What *decoder* reads from bytes that anybody may have written.

    Args:
        what: they should be, for the error.

    Raises:
        CodecError: whatever is wrong with them.
    """
    try:
        return decoder.decode(raw)
    except _UNDECODABLE as exc:
        raise CodecError(f"{what} can't be decoded: {_reason(exc)}") from exc


def _reason(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        # Its own text repeats all the bytes.
        return "a text is not UTF-8"
    if isinstance(exc, RecursionError):
        return "nested too deeply"
    return without_value(str(exc))[:_SHOWN_CHARS]


def without_value(text: str) -> str:
    """What msgspec says of a value, without the value.

    >>> without_value("Invalid enum value 'secret' - at `$.colour`")
    'a value that is not allowed - at `$.colour`'
    """
    if not text.startswith(_TELLS_VALUE):
        return text
    _, at, where = text.rpartition(" - at ")
    return f"a value that is not allowed{at}{where if at else ''}"


def _split(typed: bytes | msgspec.Raw) -> _TypedPayload:
    return decoded(_typed_decoder, typed, "a payload")


_default = Codec()


def default_codec() -> Codec:
    """The process's unsigned codec, for those who pass none."""
    return _default


def serialize_slot(slot: BufferSlot, codec: Codec | None = None) -> bytes:
    """*slot* as a record.

    Raises:
        CodecError: the payload is no dataclass, or a value in it can't be encoded.
    """
    return (codec or _default).seal_whole_slot(slot)


def deserialize_slot(data: bytes, codec: Codec | None = None) -> BufferSlot:
    """The slot behind a record.

    Raises:
        CodecError: unknown version or type, forged, or damaged.
    """
    codec = codec or _default
    metadata, typed = codec.open_slot(data)
    return BufferSlot(codec.decode(typed), metadata)


__all__ = ["Codec", "decoded", "default_codec", "deserialize_slot", "name_of", "serialize_slot"]
