"""What real attackers and real accidents send: bytes that once did harm, or were made to.

Each is tried on every decoder, for what crashes one may crash its neighbour. `small` ones are
some kilobytes at most, whatever they claim to hold.
"""

import msgspec

from backends.codec import VERSION
from tests.fuzz.targets import CODEC, ENVELOPE, RECORDS, SIGNED, TARGETS, TYPED

_encode = msgspec.msgpack.Encoder().encode
_HEAD = bytes((VERSION, 0))
DEEP = 10_000
#: An array of arrays; of mappings.
_arrays, _maps = b"\x91" * DEEP, b"\x81\xa1a" * DEEP
_envelope = _encode(ENVELOPE)


def _typed(name: str, raw: bytes) -> bytes:
    return b"\x92" + _encode(name) + raw


def _name(position: int) -> str:
    return CODEC.type_name(TYPED[position])


def _slot(timestamp: object) -> bytes:
    return _HEAD + _encode([msgspec.Raw(TYPED[1]), "7", "a", "b", 0, timestamp])


def _gathered(depth: int) -> bytes:
    """Answers within answers."""
    typed = TYPED[1]
    for _ in range(depth):
        typed = _typed(_name(2), b"\x92\x91" + typed + b"\x80")
    return typed


_bodies = {
    "nothing": b"",
    "nil": b"\xc0",
    "deep arrays": _arrays,
    "deep maps": _maps,
    "deep in a payload": _typed(_name(0), _arrays),
    "deep in a field": _typed(_name(0), b"\x81\xa8anything" + _arrays),
    "deep in a tree": _typed(_name(1), b"\x81\xa8children\x91" * DEEP + b"\x80"),
    "deep in answers": _gathered(300),
    "deep behind an envelope": bytes((_envelope[0] + 5,)) + _envelope[1:] + _arrays,
    "an array of 2**32 - 1": b"\xdd\xff\xff\xff\xff",
    "a map of 2**32 - 1": b"\xdf\xff\xff\xff\xff",
    "a text of 2**32 - 1": b"\xdb\xff\xff\xff\xff",
    "bytes of 2**31": b"\xc6\x80\x00\x00\x00",
    "an extension of 2**31": b"\xc9\x80\x00\x00\x00\x01",
    "scopes of 2**28": b"\x92" + _envelope + b"\xdd\x10\x00\x00\x00",
    "a name that is no UTF-8": b"\x92\xa1\xff\x80",
    "an envelope that is no UTF-8": _envelope.replace(b"\xa1m", b"\xa1\xff"),
    "a field that is no UTF-8": _typed(_name(0), b"\x81\xa4text\xa1\xff"),
    "an unknown type with a long name": _typed("x" * 5000, b"\x80"),
    "a long value that is not allowed": _typed(_name(0), _encode({"colour": "x" * 5000})),
    "a refusal that says too much": _typed(
        _name(1).replace("Tree", "Picky"), b"\x81\xa6number\xff"
    ),
    "a huge integer as text": _typed(_name(0), _encode({"number": "9" * 5000})),
    "a huge exponent": _typed(_name(0), _encode({"price": "1e999999999"})),
    "not a number": _typed(_name(0), b"\x81\xa5ratio\xcb\x7f\xf8" + bytes(6)),
    "a moment of long ago": _encode([("w/1", "-" + "9" * 4000)]),
    "a moment of no digits": _encode([("w/1", "nan")]),
    "a moment of too many digits": _encode([("w/1", "9" * 5000)]),
    "a moment beyond any float": _encode([("w/1", "9" * 400)]),
    "an error that is no error": _encode(("__doc__", "x")),
    "an error that is no text": _encode(("BufferFullError", [1])),
    "an operation nobody knows": _encode(("__init__", [])),
    "numbers in place of texts": _encode(("append", [1, 2, 3])),
    "a reply of two payloads that are none": _encode(["Completed", [None, [b""], False]]),
    "a completion without payloads": _encode(
        {"type": "Completed", "replies": [[None, []]], "duration_s": 1}
    ),
    "a scatter to nobody": _encode(
        {"type": "Completed", "replies": [[None, [], True]], "duration_s": 1}
    ),
}

_records = {
    "another version": b"\x02\x00" + _envelope,
    "unknown flags": bytes((VERSION, 7)) + _envelope,
    "a header alone": _HEAD,
    "half a header": _HEAD[:1],
    "half a tag": bytes((VERSION, 1)) + b"x" * 7,
    "another tenant's": SIGNED.seal(_envelope, "message"),
    "another tenant's slot": SIGNED.seal_slot(TYPED[1], "7", "a", "b"),
    "a slot of no time": _slot(float("nan")),
    "a slot of a year no calendar holds": _slot(9.1e18),
    "a slot of the end of time": _slot(1e300),
    "a slot of before all time": _slot(-1e12),
    "a slot of text": _slot("x" * 1000),
    "a chain of dots": RECORDS.message(msgspec.structs.replace(ENVELOPE, chain="." * 500)),
    "a chain of members": RECORDS.message(msgspec.structs.replace(ENVELOPE, chain=".#" * 500)),
    "a chain of nothing": RECORDS.message(msgspec.structs.replace(ENVELOPE, chain="")),
    "an attempt beyond count": RECORDS.message(
        msgspec.structs.replace(ENVELOPE, attempt=2**64 - 1)
    ),
}

_texts = {
    "deep JSON": b"[" * DEEP,
    "deep objects": b'{"children":[' * DEEP,
    "deep anything": b'{"anything":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a huge JSON integer": b'{"number":' + b"9" * 5000 + b"}",
    "a huge JSON exponent": b'{"ratio":1e' + b"9" * 5000 + b"}",
    "no JSON number": b'{"ratio":NaN}',
    "half a surrogate": b'{"text":"\\ud800"}',
    "a long unknown field": b'{"' + b"x" * 5000 + b'":1}',
    "no UTF-8": b'{"text":"\xff"}',
    "bytes that are no text": bytes(range(256)),
    "a batch of numbers": b"[[5], {}, {}]",
    "a batch of batches": b'[[["d"]], {}, {}]',
    "a batch of nothing": b"[[], {}, {}]",
    "a batch of none": b"5",
    "no batch at all": b'{"args": 5}',
    "deep YAML": b"a: " + b"[" * DEEP,
    "deep YAML blocks": b"".join(b" " * n + b"a:\n" for n in range(200)),
    "cyclic YAML": b"organism: &a [*a]\nlisteners: [*a]",
    "cyclic merge": b"organism: &a {<<: *a, name: x}\nlisteners: [*a]",
    "laughs": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 110)
    ),
    "merged laughs": b"a: &a {x: 1}\n"
    + b"".join(
        b"%c: &%c {<<: [%s]}\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 110)
    ),
    "a YAML object": b"organism: !!python/object/apply:os.system [id]\n",
    "YAML directives": b"%YAML 9.9\n%TAG ! tag:x\n---\n!a b\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "a YAML null byte": b"a: \x00",
    "a YAML tab": b"\ta: b",
    "an anchor of nothing": b"a: *b",
    "binary YAML": b"a: !!binary aGk=",
    "a complex key": b"? [a, b]\n: c\n",
    "no closing brace": b"organism: {name: '" + b"${A:-" * 1000 + b"'}",
    "not quite a number": b"organism: {name: x}\nbackend: {redis_ttl: " + b"1" * 4000 + b"x}",
    "a long number": b"organism: {name: x}\nbackend: {redis_ttl: " + b"1" * 4000 + b"}",
    "a long key": b"? " + b"x" * 4000 + b"\n: 1\n",
}


def small() -> dict[str, bytes]:
    """All of them, by name: bare and behind a header; and the beginnings of our own records."""
    found = {**_bodies, **_records, **_texts}
    found |= {f"a record of {name}": _HEAD + body for name, body in _bodies.items()}
    for target in TARGETS.values():
        for number, seed in enumerate(target.seeds):
            found |= {
                f"{seed[:8]!r} {number} cut at {at}": seed[:at]
                for at in range(0, len(seed), max(1, len(seed) // 12))
            }
    return found


def large() -> dict[str, bytes]:
    """As much as may come in: what takes long, or much memory, only when there is much of it."""
    return {
        "a payload of arrays": _typed(
            _name(0), b"\x81\xa8anything\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000
        ),
        "a payload of maps": _typed(
            _name(0), b"\x81\xa8anything\xdd\x00\x0f\x42\x40" + b"\x80" * 1_000_000
        ),
        "a million arrays": b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000,
        "JSON arrays": b'{"anything":[' + b"[]," * 300_000 + b"[]]}",
        "100,000 listeners": b"organism: {name: x}\nlisteners:\n"
        + b"".join(
            b"  - {name: l%d, payload_class: a.B, handler: a.b}\n" % n for n in range(100_000)
        )[: 4 * 1024**2 - 100],
        "as many listeners as may be": b"organism: {name: x}\nlisteners:\n"
        + b"".join(
            b"  - {name: l%d, payload_class: a.B, handler: a.b}\n" % n for n in range(14_000)
        ),
        "unknown keys": b"organism: {name: x}\n"
        + b"".join(b"%s%d: 1\n" % (b"k" * 50, n) for n in range(45_000)),
        "mistakes far down": b"".join(b" " * n + b"%s:\n" % (b"k" * 60) for n in range(48))
        + b"".join(b" " * 48 + b"same: 1\n" for n in range(45_000)),
        "a number of a megabyte": b"backend: {redis_ttl: " + b"1" * 1_000_000 + b"x}",
        "variables without end": b"organism: {name: '" + b"${A:-" * 200_000 + b"'}",
        "variables that fill": b"organism: {name: '" + b"${HOME}" * 500_000 + b"'}",
    }
