"""No bytes crash a decoder, make it hang, import, or take memory beyond measure.

`test_decoders.py` runs this in a process of its own: what watches a decoder is an audit hook, which
can't be removed and is called at all that any thread does from then on.
"""

import json
import tracemalloc
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import hostile
from tests.fuzz.shapes import Tree
from tests.fuzz.targets import CODEC, TARGETS, TYPED
from tests.fuzz.watching import cost, decode

#: Bytes that decoding may take for each byte of its input, and besides.
MULTIPLE, BASE_BYTES = 128, 1024**2
#: What an organism file may take, however its aliases multiply it.
MAX_ORGANISM_BYTES = 64 * 1024**2

every_decoder = pytest.mark.parametrize("name", TARGETS)

_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
_hostile = hostile.small()
_pieces = st.binary(max_size=60) | st.sampled_from(list(_hostile.values())).map(lambda b: b[:4000])


@st.composite
def _mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """What the decoder takes, with a piece put in the place of another."""
    seed = draw(st.sampled_from(seeds))
    begin = draw(st.integers(0, len(seed)))
    end = min(len(seed), begin + draw(st.integers(0, 8)))
    return seed[:begin] + draw(_pieces) + seed[end:]


def _as_json(value: Any) -> bytes:
    return json.dumps(value, default=repr).encode(errors="replace")


def _inputs(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    packed = _values.map(msgspec.msgpack.encode)
    headed = packed.map(b"\x01\x00".__add__)
    return _mutated(seeds) | packed | headed | _values.map(_as_json) | st.binary(max_size=500)


@every_decoder
def test_what_is_hostile_is_refused_with_one_error(name: str) -> None:
    """All the regressions; and every prefix of a good record, which is none."""
    for what, data in _hostile.items():
        try:
            decode(TARGETS[name], data)
        except Exception as exc:
            exc.add_note(f"{name} on {what}")
            raise


@every_decoder
def test_any_bytes_are_decoded_or_refused(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_inputs(target.seeds))
    def check(data: bytes) -> None:
        decode(target, data)

    check()


@every_decoder
def test_memory_is_a_bounded_multiple_of_the_input(name: str) -> None:
    """However much a record claims to hold."""
    for what, data in _hostile.items():
        taken, _ = cost(TARGETS[name], data)
        bound = MAX_ORGANISM_BYTES if name == "organism" else BASE_BYTES + MULTIPLE * len(data)
        assert taken <= bound, f"{name} takes {taken} bytes for {len(data)} bytes of {what}"


def test_a_list_of_small_objects_takes_what_the_objects_take() -> None:
    """One byte may stand for an object of the organism's, all of whose fields have defaults."""
    count = 50_000
    data = b"\x92" + msgspec.msgpack.encode(CODEC.type_name(TYPED[1]))
    data += b"\x81\xa8children\xdd" + count.to_bytes(4, "big") + b"\x80" * count
    tracemalloc.start()
    trees = [Tree() for _ in range(count)]
    objects = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(trees) == count
    taken, _ = cost(TARGETS["payload"], data)
    assert objects > MULTIPLE * count
    assert taken <= BASE_BYTES + 1.1 * objects
