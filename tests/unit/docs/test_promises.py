"""`docs/promises.md` names tests that exist, and suites that run."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
DOCUMENT = TESTS.parent / "docs" / "promises.md"
#: Rows of the tables, without their heads and rules.
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not re.match(r"\|(-|\s*Promise\s*\|)", line)
]
ID = re.compile(r"`([\w/]+\.py::[\w:]+)`")
IDS = sorted({test_id for row in ROWS for test_id in ID.findall(row[1])})


@cache
def names_in(path: Path) -> frozenset[str]:
    """Test functions, classes that have or inherit tests, and their own test methods."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            methods = {f"{node.name}::{name}" for name in map(_test_name, node.body) if name}
            found |= methods | ({node.name} if methods or node.bases else set())
        elif name := _test_name(node):
            found.add(name)
    return frozenset(found)


def _test_name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
        return node.name
    return None


def bases_in_tests() -> set[str]:
    """Names of the classes that collected classes inherit from, at any remove."""
    bases: dict[str, set[str]] = {}
    collected: list[str] = []
    for path in TESTS.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                bases.setdefault(node.name, set()).update(names)
                if node.name.startswith("Test") and path.name.startswith("test_"):
                    collected.append(node.name)
    found: set[str] = set()
    while collected:
        new = bases.get(collected.pop(), set()) - found
        found |= new
        collected += new
    return found


def test_every_row_names_a_test() -> None:
    """A promise without a test is a wish; what is no id shows nothing."""
    assert len(ROWS) > 100
    for row in ROWS:
        _, shown_by = row
        assert ID.search(shown_by), row
        assert not ID.sub("", shown_by).strip(), row


@pytest.mark.parametrize("test_id", IDS)
def test_a_named_test_exists(test_id: str) -> None:
    """Renamed or removed, it must be here too."""
    file, _, name = test_id.partition("::")
    assert name in names_in(TESTS / file)


def test_every_named_suite_is_run() -> None:
    """What stands in no `test_` file runs only where a collected class inherits it."""
    suites = {
        name.partition("::")[0]
        for file, _, name in (test_id.partition("::") for test_id in IDS)
        if not Path(file).name.startswith("test_")
    }
    assert suites
    assert suites <= bases_in_tests()
