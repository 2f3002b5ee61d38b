"""Clones: functions of the same shape, whatever their names and constants."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b

from audit.payloads import CloneGroup, Fragment, ModuleReport, Place

#: Nodes below which a function is too small for its shape to mean anything.
MIN_NODES = 60
#: Lines below which nobody would want to merge it.
MIN_LINES = 6
#: Longest groups that a report lists.
LISTED_GROUPS = 10
LISTED_PLACES = 10


def fragments(tree: ast.Module) -> list[Fragment]:
    """Every function large enough, with the hash of its normalised body."""
    found: list[Fragment] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines >= MIN_LINES:
                shape = _shape(node)
                if len(shape) >= MIN_NODES:
                    found.append(Fragment(_hash(shape), node.lineno, lines))
    return found


def _shape(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The node types of the body in order of a walk, docstring, names and values dropped."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    shape: list[str] = []
    waiting: list[ast.AST | None] = [*reversed(body)]
    while waiting:
        node = waiting.pop()
        if node is None:
            shape.append(")")
            continue
        shape.append(type(node).__name__)
        children = [each for each in ast.iter_child_nodes(node) if not _is_context(each)]
        if children:
            waiting.append(None)
            waiting.extend(reversed(children))
    return shape


def _is_context(node: ast.AST) -> bool:
    return isinstance(node, ast.expr_context)


def _hash(shape: list[str]) -> int:
    digest = blake2b(" ".join(shape).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def clone_groups(modules: Iterable[ModuleReport]) -> list[CloneGroup]:
    """Fragments that occur more than once, most repeated lines first."""
    by_hash: dict[int, list[Place]] = defaultdict(list)
    for module in modules:
        names = {function.line: function.name for function in module.functions}
        for each in module.fragments:
            name = names.get(each.line, "")
            by_hash[each.hash].append(Place(module.path, name, each.line, each.lines))
    groups = [
        CloneGroup(min(place.lines for place in places), len(places), places)
        for places in by_hash.values()
        if len(places) > 1
    ]
    return sorted(groups, key=_weight)


def _weight(group: CloneGroup) -> tuple[int, str, int]:
    first = group.places[0]
    return -group.lines * (group.count - 1), first.path, first.line


def listed(groups: list[CloneGroup]) -> list[CloneGroup]:
    """The groups a report lists, each with its first places."""
    return [
        CloneGroup(group.lines, group.count, group.places[:LISTED_PLACES])
        for group in groups[:LISTED_GROUPS]
    ]
