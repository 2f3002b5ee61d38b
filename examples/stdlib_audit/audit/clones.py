"""Clones: functions of the same shape, whatever their names and constants."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from audit.payloads import CloneGroup, ModuleReport, Place

#: Nodes below which a function is too small for its shape to mean anything.
MIN_NODES = 40
#: Lines below which nobody would want to merge it.
MIN_LINES = 6
#: Longest groups that a report lists.
LISTED_GROUPS = 10
LISTED_PLACES = 10


def shape(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: int) -> int:
    """A hash of what *function* does, names and values left out; 0 if it is too small."""
    if lines < MIN_LINES:
        return 0
    nodes, tokens = _tokens(function.body)
    if nodes < MIN_NODES:
        return 0
    digest = blake2b(" ".join(tokens).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _tokens(block: list[ast.stmt]) -> tuple[int, list[str]]:
    """How many nodes *block* has, and their types in order of a walk.

    The children of each field stand between its name and `)`, so that what a
    loop repeats is not taken for its `else`.
    """
    nodes = 0
    tokens: list[str] = []
    waiting: list[ast.AST | str] = _children(block)
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            tokens.append(part)
            continue
        nodes += 1
        tokens.append(type(part).__name__)
        for field in reversed(part._fields):
            # `ctx` follows from where a node stands.
            if field != "ctx" and (children := _children(getattr(part, field, None))):
                waiting += (")", *children, field)
    return nodes, tokens


def _children(value: object) -> list[ast.AST | str]:
    """The nodes in a field, last first, without docstrings and other bare constants."""
    if isinstance(value, ast.AST):
        return [value]
    if not isinstance(value, list):
        return []
    return [each for each in reversed(value) if isinstance(each, ast.AST) and not _is_bare(each)]


def _is_bare(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def clone_groups(modules: Iterable[ModuleReport]) -> list[CloneGroup]:
    """Functions whose shape occurs more than once, most repeated lines first."""
    by_shape: dict[int, list[Place]] = defaultdict(list)
    for module in modules:
        for each in module.functions:
            if each.shape:
                place = Place(module.path, each.name, each.line, each.lines, each.complexity)
                by_shape[each.shape].append(place)
    groups = [
        CloneGroup(min(place.lines for place in places), len(places), places)
        for places in by_shape.values()
        if len(places) > 1
    ]
    return sorted(_whole(groups), key=_weight)


def _whole(groups: Sequence[CloneGroup]) -> list[CloneGroup]:
    """The groups but for those that another one brings along: its nested functions."""
    by_path: dict[str, list[tuple[Place, int]]] = defaultdict(list)
    for index, group in enumerate(groups):
        for place in group.places:
            by_path[place.path].append((place, index))

    def around(inner: Place) -> set[int]:
        return {
            index
            for outer, index in by_path[inner.path]
            if outer.line < inner.line < outer.line + outer.lines
        }

    def is_part(group: CloneGroup) -> bool:
        common = set.intersection(*map(around, group.places))
        return any(groups[index].count >= group.count for index in common)

    return [group for group in groups if not is_part(group)]


def _weight(group: CloneGroup) -> tuple[int, str, int]:
    first = group.places[0]
    return -group.repeated, first.path, first.line


def listed(groups: list[CloneGroup]) -> list[CloneGroup]:
    """The groups a report lists, each with its first places."""
    return [
        CloneGroup(group.lines, group.count, group.places[:LISTED_PLACES])
        for group in groups[:LISTED_GROUPS]
    ]
