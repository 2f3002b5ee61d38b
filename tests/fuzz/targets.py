"""The decoders, each as a function of bytes; and what each may refuse them with.

What is signed is tried as one would write it who holds the key, or where there is none:
behind a tag that does not match, no decoder is reached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from kombu.message import Message

from backends import deserialize_slot
from backends.chains import conversation_chain
from backends.codec import Codec
from backends.contact import Contact
from backends.errors import BackendError, CodecError
from backends.mailbox import Answer, Envelope, Hop, Letter, Returned
from backends.manager.wire import decode_reply, decode_request, encode_request
from backends.protocol import SlotRecord
from backends.redis.ledger import ids_in
from backends.redis.news import News
from backends.redis.records import Dispatch, Gather, Outcome, Records
from backends.redis.streams import message_of
from backends.slots import BufferSlot, SlotMetadata
from backends.store import Terms
from backends.types import TypeRegistry, WireForm
from pipeline import wire
from pipeline.cli.jsonl import BadLineError, LineSplitter, PayloadReader
from pipeline.errors import ConfigError
from pipeline.imports import ImportPathError
from pipeline.messages import ErrorMessage, Gathered, HandlerResponse
from pipeline.organism import Limits, Listener
from pipeline.organism_file import _Reader
from pipeline.roster import Roster
from pipeline.routing import HopRefusedError, Router
from pipeline.settling import outcome_of
from pipeline.station import Station
from pipeline.worker import Completed, Reply
from pipeline.yaml_binding import Binder
from pipeline.yaml_tree import Node, Problems, parse
from tasks.worker_hooks import _batch_in as batch_in
from tests.fuzz.shapes import Colour, Everything, Picky, Tree

_encode = msgspec.msgpack.Encoder().encode


def _types() -> TypeRegistry:
    types = TypeRegistry()
    for cls in (Everything, Tree, Picky, ErrorMessage):
        types.declare(cls)
    types.declare(
        Gathered,
        WireForm(wire._GatheredShape, wire._gathered_to_wire, wire._gathered_from_wire),
    )
    return types


CODEC = Codec(types=_types())
#: Another tenant's, whose records are none of ours.
SIGNED = Codec(keys=["a key"], realm="theirs:", types=CODEC.types)
RECORDS = Records(CODEC)
PLACE = "id"


async def _handle(payload: Everything, metadata: object) -> HandlerResponse:
    return HandlerResponse.respond(payload)


LISTENER = Listener(name="to", payload_class=Everything, handler=_handle)
STATION = Station(LISTENER)
ROUTER = Router(Roster([LISTENER]), CODEC, Limits())
PAYLOADS = [
    Everything(tree=Tree("a", [Tree("b")]), anything={"a": [1, None, 2.5]}, colour=Colour.BLUE),
    Picky(2),
    Gathered([Tree("x"), None], {1: ErrorMessage("raised", "it", "to").to_exception()}),
]
TYPED = [CODEC.encode(payload) for payload in PAYLOADS]
CHAIN = conversation_chain("system", "7", "external", "to")
ENVELOPE = Envelope("m", "7", "s", CHAIN, "7", "to", "external", TYPED[0])
HOP = Hop("m", "to", "external", "7", CHAIN, "T", "host:1", 1, 1.0, 0.5)
DONE = _encode(Completed([Reply(None, [TYPED[0]])], 0.5))


@dataclass(frozen=True)
class Target:
    """One decoder."""

    run: Callable[[bytes], object]
    #: The one error, by its root, with which it refuses.
    refusal: type[Exception]
    #: What it takes; where mutation begins.
    seeds: list[bytes]


def _record(kind: str, example: bytes) -> Target:
    """A record that is opened by its own method of `Records`."""
    open_it = getattr(RECORDS, f"open_{kind}")
    arguments = () if kind == "message" else (PLACE,)
    return Target(lambda data: open_it(*arguments, data), CodecError, [example])


def _slot(data: bytes) -> None:
    CODEC.open_slot(data, "7")
    deserialize_slot(data, CODEC)


def _signed(data: bytes) -> None:
    """A record where there is a key: none but ours gets past its tag."""
    SIGNED.open_slot(data, "7")
    Records(SIGNED).open_message(data)


def _payload(data: bytes) -> None:
    try:
        CODEC.type_of(data)
    except CodecError:
        CODEC.type_name(data)
    CODEC.decode(data)


#: Between the fields of what is no record by itself.
SEPARATOR = b"\xff\xfe"
#: Fields of a stream entry that a byte's bits choose.
_FIELDS = (b"m", b"i", b"o", b"x", b"y", b"h", b"l", b"d")


def _entry(data: bytes) -> object:
    """A stream entry: which fields, then the fields, set apart by a separator."""
    chosen = [name for bit, name in enumerate(_FIELDS) if data[:1] and data[0] >> bit & 1]
    return message_of(RECORDS, dict(zip(chosen, data[1:].split(SEPARATOR), strict=False)))


def _history(data: bytes) -> object:
    """The end of a dispatch that killed its workers: its record is good, its history is not."""
    record = RECORDS.dispatch(PLACE, Dispatch(ENVELOPE, "f"))
    return message_of(RECORDS, {b"i": b"id", b"x": record, b"y": b"killed", b"h": data})


_news = News(None, "", None, RECORDS, Contact("nowhere"))  # type: ignore[arg-type]


def _tell(data: bytes) -> None:
    """What a pump finds in its own stream."""
    kind = (b"answered", b"closed", b"ended")[data[0] % 3] if data else b""
    subject, _, record = data[1:].partition(SEPARATOR)
    _news.effects([kind, subject, record])


def _outcome(data: bytes) -> object:
    """What a worker wrote, as far as the pump that settles it goes."""
    outcome = outcome_of(Returned("id", ENVELOPE, data), STATION)
    if isinstance(outcome, Completed):
        return ROUTER.plan(ENVELOPE, outcome.replies)
    return outcome


def _hop(data: bytes) -> None:
    """A message whose ids and chain may be anything, on its way through one hop."""
    envelope = RECORDS.open_message(data)
    call = STATION.call(envelope)
    ROUTER.plan_error(envelope, call.failed("raised", "it").error)  # type: ignore[arg-type]
    ROUTER.plan(envelope, [Reply(None, [TYPED[0]]), Reply("to", [TYPED[0]])])
    ROUTER.plan(envelope, [Reply("to", [TYPED[0]] * 2, is_scatter=True)])
    CODEC.decode(envelope.payload)


def _batch(data: bytes) -> list[str]:
    """The body of a Celery message, as the worker's main process reads it."""
    message: Any = Message(
        body=data,
        content_type="application/json",
        content_encoding="utf-8",
        accept={"application/json"},
    )
    return ids_in(batch_in(message))


def _refuse_import(path: str) -> Any:
    raise ImportPathError(f"nothing is imported here, not {path[:20]!r}")


class _Importer:
    module = staticmethod(_refuse_import)


class _FileReader(_Reader):
    """The reader of organism files, but for what it would import or look up on disk."""

    def __init__(self, root: Node, problems: Problems) -> None:
        self._file, self._root, self._problems = Path("organism.yaml"), root, problems
        self._importer: Any = _Importer()
        environ = {"HOME": "/root" * 20}
        self._binder = Binder(problems, environ=environ, resolve=_refuse_import)

    def _check_executors(self, sections: object) -> None:
        """Asks which plug-ins are installed."""


def _organism(data: bytes) -> object:
    """An organism file, read to its end."""
    problems = Problems("organism.yaml")
    return _FileReader(parse(data, problems), problems).organism()


_readers = [PayloadReader(cls) for cls in (Everything, Tree, Picky)]


def _lines(data: bytes) -> None:
    """Lines of JSON, in chunks that cut them anywhere; every one is tried."""
    splitter = LineSplitter(max_bytes=8 * 1024**2)
    lines = [
        line for at in range(0, len(data), 4096) for line in splitter.feed(data[at : at + 4096])
    ]
    refused = None
    for line in lines + splitter.end():
        for reader in _readers:
            try:
                if line.data is not None and not line.is_blank:
                    reader.read(line.data)
            except BadLineError as exc:
                refused = exc
    if refused is not None:
        raise refused


_metadata = SlotMetadata(
    thread_id="7",
    from_id="a",
    to_id="b",
    slot_index=0,
    timestamp="2026-01-01T00:00:00+00:00",
    payload_type="Tree",
)
_slots = [
    CODEC.seal_slot(TYPED[1], "7", "a", "b"),
    CODEC.seal_whole_slot(BufferSlot(PAYLOADS[0], _metadata)),
]
_terms = Terms(60.0, 10, 10)
_requests = [
    encode_request("append", ("7", b"slot", _terms)),
    encode_request("record", ([SlotRecord("7", CHAIN, b"slot")], _terms)),
    encode_request("refresh", (["7"], _terms)),
]
_dispatch = RECORDS.dispatch(PLACE, Dispatch(ENVELOPE, "f"))
_finished = RECORDS.outcome(PLACE, Outcome(ENVELOPE, DONE, HOP))
_line = msgspec.json.encode(PAYLOADS[0]) + b"\n" + msgspec.json.encode(Tree("a", [Tree("b")]))
_yaml = b"""organism: {name: x, version: "${V:-1}"}
backend: {type: redis, redis_ttl: 1e3}
limits: &l {max_concurrent_handlers: 20}
serialization: {signing_key: [a, b]}
listeners:
  - &a {name: a, payload_class: a.B, handler: a.b, cpu_bound: yes, timeout_s: .5, peers: [a]}
  - {<<: *a, name: b, agent: true}
"""

TARGETS = {
    "message": _record("message", RECORDS.message(ENVELOPE)),
    "dispatch": _record("dispatch", _dispatch),
    "outcome": _record("outcome", _finished),
    "answer": _record("answer", RECORDS.answer(PLACE, Answer(False, TYPED[0]))),
    "gather": _record("gather", RECORDS.gather(PLACE, Gather(ENVELOPE, ["s.1", "s.2"]))),
    "letter": _record(
        "letter", RECORDS.letter(PLACE, Letter(ENVELOPE, "c", "why", 1.0, [("w/1", 2.0)]))
    ),
    "slot": Target(_slot, CodecError, _slots),
    "signed": Target(_signed, CodecError, [SIGNED.seal_slot(TYPED[1], "7", "a", "b")]),
    "payload": Target(_payload, CodecError, TYPED),
    "entry": Target(
        _entry,
        CodecError,
        [
            b"\x01" + RECORDS.message(ENVELOPE),
            b"\xc0" + SEPARATOR.join((b"o.@7.a.b", CODEC.seal_slot(TYPED[1], "7", "a", "b"))),
            b"\x06" + SEPARATOR.join((b"id", _finished)),
            b"\x3a" + SEPARATOR.join((b"id", _dispatch, b"killed", _encode([("w/1", "12")]))),
        ],
    ),
    "history": Target(_history, CodecError, [_encode([("w/1", "1700000000000")]), b""]),
    "news": Target(
        _tell,
        CodecError,
        [b"\x00id" + SEPARATOR + RECORDS.answer(PLACE, Answer(True, b"no")), b"\x01id"],
    ),
    "result": Target(_outcome, HopRefusedError, [DONE]),
    "hop": Target(_hop, CodecError, [RECORDS.message(ENVELOPE)]),
    "batch": Target(_batch, CodecError, [b'[["d1 d2"], {}, {"callbacks": null}]']),
    "organism": Target(_organism, ConfigError, [_yaml]),
    "lines": Target(_lines, BadLineError, [_line]),
    "request": Target(decode_request, CodecError, _requests),
    "reply": Target(
        decode_reply,
        BackendError,
        [_encode((None, [1, b"x"])), _encode(("BufferFullError", "full"))],
    ),
}
