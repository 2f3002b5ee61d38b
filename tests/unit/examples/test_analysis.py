"""What the audit finds in one module."""

import ast
from pathlib import Path

import pytest
from audit.analysis import analyze, complexity
from audit.payloads import Module, ModuleReport


def module(tmp_path: Path, source: str | bytes, name: str = "m.py") -> ModuleReport:
    data = source.encode() if isinstance(source, str) else source
    (tmp_path / name).write_bytes(data)
    return analyze(Module(str(tmp_path), name))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("for x in y: pass", 2),
        ("while x: pass", 2),
        ("try: pass\n except A: pass\n except B: pass", 3),
        ("return a and b and c", 3),
        ("return (a or b) and c", 3),
        ("return 1 if a else 2", 2),
        ("assert a", 2),
        ("return [x for x in y if x if z]", 4),
        ("match a:\n  case 1: pass\n  case 2: pass\n  case _: pass", 3),
        ("match a:\n  case _ if b: pass", 2),
        ("with a: pass", 1),
        ("def inner():\n  if a: pass", 1),
        ("return lambda: a if b else c", 2),
    ],
)
def test_complexity_counts_the_decisions(body: str, expected: int) -> None:
    """One, and one for each way the flow can part; nested functions count alone."""
    function = ast.parse(f"def f():\n {body}").body[0]
    assert complexity(function) == expected


def test_functions_are_named_by_where_they_stand(tmp_path: Path) -> None:
    """Methods and nested functions with the path to them, and their lines."""
    report = module(
        tmp_path,
        "class A:\n"
        "    def b(self):\n"
        "        def c():\n"
        "            return 1\n"
        "        return c\n"
        "if True:\n"
        "    async def d(): ...\n",
    )
    found = sorted((each.name, each.line, each.lines) for each in report.functions)
    assert found == [("A.b", 2, 4), ("A.b.c", 3, 2), ("d", 7, 1)]
    assert report.lines == 7


def test_docstrings_count_where_they_are_due(tmp_path: Path) -> None:
    """The module, public classes and functions; private ones need none."""
    report = module(tmp_path, '"""Doc."""\ndef a():\n    "doc"\ndef b(): ...\ndef _c(): ...\n')
    assert (report.documented, report.documentable) == (2, 3)


def test_imports_are_top_level_names(tmp_path: Path) -> None:
    """Each once, sorted; relative ones name nothing outside."""
    report = module(
        tmp_path, "import os.path, sys\nfrom os import sep\nfrom . import x\nfrom .y import z\n"
    )
    assert report.imports == ["os", "sys"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax (line 1)"),
        (b"# -*- coding: nonsense -*-\n", "SyntaxError: unknown encoding: nonsense"),
        (b"x = '\xff'\n", "SyntaxError: (unicode error) 'utf-8' codec"),
        (b"x = 1\0\n", "source code string cannot contain null bytes"),
        ("x = " + "(" * 300 + ")" * 300 + "\n", "SyntaxError: too many nested parentheses"),
    ],
)
def test_what_cannot_be_read_is_skipped_with_its_reason(
    tmp_path: Path, source: str | bytes, reason: str
) -> None:
    """The audit goes on without it."""
    report = module(tmp_path, source)
    assert reason in report.skipped
    assert report.functions == []


def test_a_file_that_is_gone_is_skipped(tmp_path: Path) -> None:
    """The tree may change while it is audited."""
    report = analyze(Module(str(tmp_path), "gone.py"))
    assert report.skipped == "FileNotFoundError: No such file or directory"


def test_a_deep_expression_is_skipped_or_read(tmp_path: Path) -> None:
    """Depth is the parser's to refuse, never a crash."""
    report = module(tmp_path, "x = " + "-" * 100_000 + "1\n")
    assert report.skipped


def test_an_encoding_declaration_is_heeded(tmp_path: Path) -> None:
    """Latin-1 is read as Latin-1."""
    report = module(tmp_path, "# coding: latin-1\ndef caf\xe9(): ...\n".encode("latin-1"))
    assert [each.name for each in report.functions] == ["caf\xe9"]
