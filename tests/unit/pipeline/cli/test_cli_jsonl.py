"""Lines become payloads, answers become lines."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.jsonl import BadLineError, LineSplitter, PayloadReader, answer_line


@dataclass
class Leaf:
    n: int


@dataclass
class Tree:
    name: str
    leaf: Leaf | None = None
    pair: tuple[Leaf, int] | None = None
    many: tuple[Leaf, ...] = ()
    by_name: dict[str, list[Leaf]] = field(default_factory=dict)
    child: "Tree | None" = None
    anything: Any = None

    def __post_init__(self) -> None:
        if self.name == "secret":
            raise KeyError(self.name)


def split(chunks: list[bytes], max_bytes: int = 1_000_000) -> list[tuple[int, bytes | None]]:
    splitter = LineSplitter(max_bytes=max_bytes)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [(line.number, line.data) for line in [*lines, *splitter.end()]]


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_where_chunks_end_does_not_matter(parts: list[bytes], step: int) -> None:
    """The same lines, however the bytes arrive."""
    whole = b"\n".join(parts)
    chunks = [whole[at : at + step] for at in range(0, len(whole), step)]
    assert split(chunks) == split([whole])


@given(st.lists(st.binary(max_size=20)))
def test_sizes_add_up(parts: list[bytes]) -> None:
    """Every byte belongs to one line."""
    splitter = LineSplitter(max_bytes=5)
    whole = b"\n".join(parts)
    lines = [*splitter.feed(whole), *splitter.end()]
    assert sum(line.size for line in lines) == len(whole)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))


def test_a_line_too_long_is_counted_and_not_kept() -> None:
    """The limit itself still fits; what follows is not touched."""
    assert split([b"12345\n123", b"456", b"789\n1\n"], 5) == [(1, b"12345"), (2, None), (3, b"1")]
    assert split([b"123456"], 5) == [(1, None)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"name":"a","leaf":{"n":1,"x":1}}', 'Leaf has no such field; it has "n" - at `$.leaf`'),
        (
            '{"name":"a","pair":[{"n":1,"x":1},2]}',
            'Leaf has no such field; it has "n" - at `$.pair[0]`',
        ),
        (
            '{"name":"a","many":[{"n":1},{"m":1}]}',
            'Leaf has no such field; it has "n" - at `$.many[1]`',
        ),
        (
            '{"name":"a","by_name":{"k":[{"n":1,"x":1}]}}',
            'Leaf has no such field; it has "n" - at `$.by_name[...][0]`',
        ),
        (
            '{"name":"a","child":{"nam":"b"}}',
            'Tree has no such field; did you mean "name"? - at `$.child`',
        ),
        ('{"name":"secret"}', "Tree refused it with KeyError"),
        ('{"name":"a","leaf":{"n":true}}', "Expected `int`, got `bool` - at `$.leaf.n`"),
        ("[" * 50_000, "nested too deeply"),
        ("{", "JSON is malformed: it ends too early"),
        ("null", "Expected `object`, got `null`"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(line: str, problem: str) -> None:
    """Never by what stood there."""
    with pytest.raises(BadLineError) as caught:
        PayloadReader(Tree).read(line.encode())
    assert str(caught.value) == problem


def test_a_field_of_any_type_takes_any_object() -> None:
    """Its names are nobody's business."""
    tree = PayloadReader(Tree).read(b'{"name":"a","anything":{"x":[{"y":1}]}}')
    assert tree == Tree("a", anything={"x": [{"y": 1}]})


def test_an_answer_is_one_line() -> None:
    """Newlines within it are escaped."""
    assert answer_line(Tree("a\nb", Leaf(1))).count(b"\n") == 1
    with pytest.raises(BadLineError, match="the answer, Leaf, can't be written as JSON"):
        answer_line(Leaf({(1, 2): 3}))  # type: ignore[arg-type]
    with pytest.raises(BadLineError, match="PosixPath"):
        answer_line(Leaf(Path()))  # type: ignore[arg-type]
