"""No file costs more than a file may, whatever is in it."""

from itertools import pairwise

import pytest

from pipeline.yaml_tree import MAX_FILE_BYTES, MAX_PROBLEMS
from tests.unit.pipeline.organism_file.writing import Write, problems


def _alias_bomb() -> str:
    names = "abcdefghijklmnop"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for former, name in pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{former}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_alias_bomb(), "organism.yaml: more than 100000 values, aliases written out"),
        ("listeners:\n" + "- {name: x}\n" * 100_000, "organism.yaml: more than 100000 values"),
        ("#" * MAX_FILE_BYTES * 2, f"organism.yaml: larger than {MAX_FILE_BYTES} bytes"),
        (
            "organism: {name: o}\nlisteners: []\nbackend: {redis_ttl: " + "1" * 500_000 + "x}",
            "organism.yaml:3: backend.redis_ttl: expected float",
        ),
        (
            "organism: {name: o}\nlisteners: []\ncelery: {queue: '" + "${A:-" * 500_000 + "'}",
            "organism.yaml:3: celery.queue: a value with ${…} in it may have 65536 characters",
        ),
        (
            "organism: {name: o}\nlisteners: []\ncelery: {queue: '" + "${A:-" * 10_000 + "'}",
            'organism.yaml:3: celery.queue: "${" must begin ${NAME} or ${NAME:-default}',
        ),
    ],
    ids=["aliases", "listeners", "bytes", "a number", "variables", "fewer variables"],
)
@pytest.mark.timeout(30)
def test_a_hostile_file_is_refused_soon(write: Write, text: str, expected: str) -> None:
    """It costs seconds at worst, however much it would unfold to."""
    found = problems(write(text))
    assert len(found) <= 2
    assert any(problem.startswith(expected) for problem in found), found


def test_variables_fill_in_no_more_than_a_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long what stands in the environment is, and however often it is asked for."""
    monkeypatch.setenv("LONG", "x" * 10_000)
    text = "organism: {name: o}\nlisteners: []\ncelery: {queue: '" + "${LONG}" * 1000 + "'}"
    found = problems(write(text))
    assert f"organism.yaml:3: celery.queue: ${{…}} makes the file longer than {MAX_FILE_BYTES}" in (
        found
    )


def test_no_more_mistakes_are_told_than_anybody_reads(write: Write) -> None:
    """The rest is counted; each is told with a path of bounded length."""
    nested = "".join(" " * depth + "k" * 60 + ":\n" for depth in range(40))
    same = "".join(" " * 40 + "same: 1\n" for _ in range(5000))
    found = problems(write("organism: {name: o}\nlisteners: []\n" + nested + same))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].startswith("organism.yaml: and 40")
    assert max(map(len, found)) < 1000
