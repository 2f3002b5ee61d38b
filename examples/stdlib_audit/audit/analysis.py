"""What one module holds: pure functions over its syntax tree."""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from audit.clones import fragments
from audit.payloads import Function, Module, ModuleReport

#: Nodes that add one path through a function. McCabe, "A Complexity Measure", 1976, counted
#: as decisions: branches, loops, handlers, ternaries, assertions, conditions in comprehensions.
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
    for node, qualified in _definitions(tree):
        if isinstance(node, _FUNCTIONS):
            functions.append(_function(node, qualified))
        if not qualified.rpartition(".")[2].startswith("_"):
            documentable += 1
            documented += ast.get_docstring(node, clean=False) is not None
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.module and not each.level:
            imports.add(each.module.partition(".")[0])
    return ModuleReport(
        path,
        lines=source.count(b"\n") + (not source.endswith(b"\n") and bool(source)),
        functions=functions,
        documented=documented,
        documentable=documentable,
        imports=sorted(imports),
        fragments=fragments(tree),
    )


_Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definitions(tree: ast.Module) -> Iterator[tuple[_Definition, str]]:
    """The module, then every class and function with its qualified name."""
    yield tree, ""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{child.name}"
                yield child, name
                waiting.append((child, f"{name}."))
            else:
                waiting.append((child, prefix))


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Function:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    return Function(name, node.lineno, lines, complexity(node))


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
