"""From modules to a report, and the report as people see it."""

import re
import textwrap
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from audit.analysis import analyze
from audit.page import page
from audit.payloads import Findings, Module, Report, Tree
from audit.plain import audit_plainly
from audit.reporting import build
from audit.tables import tables
from audit.tree import modules_of
from rich.console import Console

LOOP = """
def {name}({arg}, limit):
    "Doc of {name}."
    total = {constant}
    for each in {arg}:
        if each > limit and each != {constant}:
            total += each * {constant}
        elif each < 0:
            total -= each
        else:
            total = max(total, each)
    return [total, limit, sum(x for x in {arg} if x)]
"""
OTHER = LOOP.replace("+=", "-=").replace("for each", "async for each").replace("def", "async def")


def tree(tmp_path: Path, **files: str) -> Report:
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source)
    paths = modules_of(tmp_path)
    reports = [analyze(Module(str(tmp_path), path)) for path in paths]
    return build(Findings(str(tmp_path), reports))


def test_a_renamed_copy_is_a_clone_and_another_shape_is_not(tmp_path: Path) -> None:
    """Names, constants and docstrings don't matter; what the code does, does."""
    report = tree(
        tmp_path,
        a=LOOP.format(name="first", arg="xs", constant=1),
        b=LOOP.format(name="second", arg="values", constant=99),
        c=OTHER.format(name="third", arg="xs", constant=1),
    )
    (group,) = report.clone_groups
    assert [(place.path, place.name) for place in group.places] == [
        ("a.py", "first"),
        ("b.py", "second"),
    ]
    assert (group.count, group.lines, report.clones_found) == (2, 11, 1)


LOOP_WITH_ELSE = """
def f(xs):
    first(xs[1:], key=lambda x: x.size, default=[None, None])
    for x in xs:
        first(x[1:], x.a + x.b * x.c)
        second(x, [1, 2, 3])
    else:
        third(x, (4, 5, 6), x.d - x.e)
        fourth(x, x.f - x.g)
"""


@pytest.mark.parametrize(("old", "new"), [("    else:\n", ""), ("1:]", ":1]")])
def test_what_stands_elsewhere_is_no_clone(tmp_path: Path, old: str, new: str) -> None:
    """A loop's `else` is not its body, and a slice's end not its beginning."""
    changed = LOOP_WITH_ELSE.replace(old, new)
    assert tree(tmp_path, a=LOOP_WITH_ELSE, b=changed).clones_found == 0
    assert tree(tmp_path, a=LOOP_WITH_ELSE, b=LOOP_WITH_ELSE).clones_found == 1


def _nested(name: str) -> str:
    inner = textwrap.indent(LOOP.format(name="inner", arg="xs", constant=1), "    ")
    return f"def {name}():\n{inner}    return inner(outer())\n"


def test_a_clone_brings_its_nested_functions_along(tmp_path: Path) -> None:
    """They are a group of their own only where they occur elsewhere too."""
    (group,) = tree(tmp_path, a=_nested("one"), b=_nested("other")).clone_groups
    assert [place.name for place in group.places] == ["one", "other"]
    alone = LOOP.format(name="alone", arg="xs", constant=1)
    report = tree(tmp_path, c=alone)
    assert [group.count for group in report.clone_groups] == [3, 2]


def test_clones_show_what_ranks_them(tmp_path: Path) -> None:
    """Two long copies may come before three short ones: by lines beyond the first place's."""
    functions = {name: LOOP.format(name=name, arg="xs", constant=1) for name in "abc"}
    report = tree(tmp_path, **functions, d=_nested("one"), e=_nested("other"))
    ranks = [group.repeated for group in report.clone_groups]
    assert ranks == sorted(ranks, reverse=True)
    out = StringIO()
    Console(file=out, width=80).print(tables(report))
    shown = out.getvalue().partition("clone groups")[2]
    (row,) = [line.split() for line in shown.splitlines() if " a.py:" in line]
    assert row[:3] == ["44", "11", "5"]
    assert '<td class="n">44</td>' in page(report, 0.0)


def test_small_functions_are_nobodys_clones(tmp_path: Path) -> None:
    """Getters look alike everywhere."""
    getter = "def get(self):\n    return self.x\n"
    assert tree(tmp_path, a=getter, b=getter).clones_found == 0


def test_rankings_are_by_figure_then_place(tmp_path: Path) -> None:
    """So that equal trees give equal reports."""
    branchy = "def f(a):\n    return a or a or a\n"
    report = tree(tmp_path, b=branchy, a=branchy + "\n\ndef g(): ...\n")
    assert [(each.path, each.name, each.complexity) for each in report.most_complex] == [
        ("a.py", "f", 3),
        ("b.py", "f", 3),
        ("a.py", "g", 1),
    ]
    assert (report.modules, report.functions) == (2, 3)
    assert report.mean_complexity == round(7 / 3, 4)
    assert dict(report.complexity_histogram)["3"] == 2


def test_the_tree_is_walked_in_order_without_installed_packages(tmp_path: Path) -> None:
    """Sorted, relative, and never round a link."""
    for path in ("b/x.py", "a.py", "site-packages/z.py", "b/__pycache__/y.py", "b/note.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert modules_of(tmp_path) == ["a.py", "b/x.py"]


def test_a_tree_without_code_gives_an_empty_report(tmp_path: Path) -> None:
    """Nothing is divided by nothing."""
    report = audit_plainly(Tree(str(tmp_path)))
    assert (report.modules, report.mean_complexity, report.docstring_coverage) == (0, 0.0, 0.0)
    assert "<h1>Code audit</h1>" in page(report, 0.0)


class _Checker(HTMLParser):
    """Notes every tag, and that each closes what was opened last."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_sound_and_escapes_every_name(tmp_path: Path) -> None:
    """Well-formed, no script, nothing fetched, hostile names shown as text."""
    hostile = "<script>alert(1)</script>&\"'"
    report = tree(tmp_path, a="def f(a):\n    return a or a\nimport os\n", broken="def (")
    report.root = report.most_complex[0].name = report.most_complex[0].path = hostile
    report.skipped[0].reason = report.skipped[0].path = hostile
    report.most_imported = [(hostile, 3)]
    html = page(report, 1.0)
    checker = _Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert not checker.seen & {"script", "img", "link", "iframe"}
    assert hostile not in html
    assert not re.search(r"https?://|url\(|@import", html)


def test_the_tables_show_markup_as_it_is(tmp_path: Path) -> None:
    """A name in square brackets is no colour; 80 columns are enough."""
    report = tree(tmp_path, a="def f(a):\n    return a or a\n", broken="def (")
    report.most_complex[0].name = "[red]name[/red]"
    out = StringIO()
    Console(file=out, width=80).print(tables(report))
    text = out.getvalue()
    assert "[red]name[/red]" in text
    assert "broken.py" in text
    assert max(map(len, text.splitlines())) <= 80
