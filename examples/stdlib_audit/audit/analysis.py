"""What one module holds: pure functions over its syntax tree."""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from audit.clones import shape
from audit.payloads import Function, Module, ModuleReport

#: Nodes that add one path through a function. McCabe, "A Complexity Measure", 1976, counted
#: as decisions: branches, loops, handlers, ternaries and assertions here; in `complexity` one
#: for each further operand of `and` and `or`, each `for` and `if` of a comprehension, and each
#: `case` that can fail to match. `else`, `finally` and `with` decide nothing.
_DECISIONS = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: The fields that hold statements, which alone hold definitions and imports.
_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


def analyze(module: Module) -> ModuleReport:
    """The report of one module; a file that can't be read or parsed says why."""
    path = Path(module.root, module.path)
    try:
        source = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        return _report(module.path, source, tree)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        return ModuleReport(module.path, skipped=_reason(exc))


def _reason(exc: Exception) -> str:
    if isinstance(exc, SyntaxError):
        where = f" (line {exc.lineno})" if exc.lineno else ""
        return f"{type(exc).__name__}: {exc.msg}{where}"
    if isinstance(exc, OSError):
        return f"{type(exc).__name__}: {exc.strerror}"
    if isinstance(exc, RecursionError):
        return "RecursionError: nested too deeply"
    return f"{type(exc).__name__}: {exc}"


def _report(path: str, source: bytes, tree: ast.Module) -> ModuleReport:
    functions: list[Function] = []
    imports: set[str] = set()
    documented = documentable = 0
    for node, scope in _statements(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions.append(_function(node, scope))
            case ast.Import(names=names):
                imports.update(alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(name), level=0):
                imports.add(name.partition(".")[0])
        if _is_public(node, scope):
            documentable += 1
            documented += ast.get_docstring(node, clean=False) is not None
    return ModuleReport(
        path,
        lines=source.count(b"\n") + (not source.endswith(b"\n") and bool(source)),
        functions=sorted(functions, key=lambda each: each.line),
        documented=documented,
        documentable=documentable,
        imports=sorted(imports),
    )


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """The module and what its blocks hold, each with the qualified name of its scope."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, scope = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            scope = f"{scope}.{node.name}" if scope else node.name
        yield node, scope
        for block in _BLOCKS:
            waiting.extend((child, scope) for child in getattr(node, block, ()))


_Documentable = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _is_public(node: ast.AST, scope: str) -> TypeGuard[_Documentable]:
    """True for what owes a docstring: its own name has no leading underscore."""
    return isinstance(node, _Documentable) and not scope.rpartition(".")[2].startswith("_")


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Function:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    return Function(name, node.lineno, lines, complexity(node), shape(node, lines))


def complexity(function: ast.AST) -> int:
    """Cyclomatic complexity: one, plus one for each decision; nested functions count alone."""
    paths = 1
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, _FUNCTIONS):
            continue
        if isinstance(node, _DECISIONS):
            paths += 1
        elif isinstance(node, ast.BoolOp):
            paths += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            paths += 1 + len(node.ifs)
        elif isinstance(node, ast.match_case):
            paths += _is_real_case(node)
        waiting.extend(ast.iter_child_nodes(node))
    return paths


def _is_real_case(case: ast.match_case) -> bool:
    """False for `case _:` without a guard, which is an else."""
    pattern = case.pattern
    is_wildcard = isinstance(pattern, ast.MatchAs) and pattern.pattern is None
    return case.guard is not None or not is_wildcard
