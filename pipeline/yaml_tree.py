"""YAML as a tree in which every value knows its line and its path.

Reading stops early at a file that is too large, too deep, or grows by aliases:
an organism may come from somebody else.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.errors import ConfigError
from pipeline.settings import quoted

MAX_FILE_BYTES = 4 * 1024**2
#: Values in one file, aliases written out.
MAX_VALUES = 100_000
#: The C parser recurses on its own stack, which a deeper file would overflow.
MAX_DEPTH = 50
#: Mistakes that are told, and characters of the path to one.
MAX_PROBLEMS = 1000
MAX_PATH_CHARS = 400

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_KNOWN_TAGS = {
    f"{_TAG}{name}"
    for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value")
}
_VARIABLE = re.compile(
    # A default ends where another variable begins: looking further would take quadratic time.
    r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}$]*+(?:\$(?!\{)[^}$]*+)*+))?\})?"
)


@dataclass(frozen=True, slots=True)
class Node:
    """One value: its text, its items or its entries; where it stands."""

    value: "str | list[Node] | dict[str, Node]"
    line: int
    path: str
    #: A scalar without quotes: it may be a number, a boolean or nothing.
    is_plain: bool = False

    @property
    def entries(self) -> "dict[str, Node]":
        """Its entries by key; none if it is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> "list[Node]":
        """Its items; none if it is no list."""
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str:
        """Its text as written; empty if it is no scalar."""
        return self.value if isinstance(self.value, str) else ""


@dataclass
class Problems:
    """Mistakes found in one file."""

    file: str
    _found: set[tuple[int, str]] = field(default_factory=set)
    #: Those that are not told.
    _others: int = 0

    def add(self, line: int, path: str, text: str) -> None:
        """Note one mistake; the same one twice counts once, as long as there are few."""
        if len(self._found) < MAX_PROBLEMS:
            self._found.add((line, f"{path}: {text}" if path else text))
        else:
            self._others += 1

    def __len__(self) -> int:
        return len(self._found) + self._others

    def raise_any(self) -> None:
        """Raise all of them, in the order of their lines.

        Raises:
            ConfigError: there was one.
        """
        if self._found:
            told = [f"{self.file}:{line}: {text}" for line, text in sorted(self._found)]
            if self._others:
                told.append(f"{self.file}: and {self._others} more")
            raise ConfigError(*told)


def parse(data: bytes, problems: Problems) -> Node:
    """The document in *data*; mistakes that leave it readable go to *problems*.

    Raises:
        ConfigError: it is no YAML mapping in UTF-8, or too large.
    """
    file = problems.file
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{file}:{line}: not UTF-8: byte 0x{data[exc.start]:02x}") from None
    try:
        _measure(text)
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            raise ConfigError(f"{file}: the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{file}:1: expected a mapping with organism: and listeners:")
        return _Builder(problems).build(root, 1, "", 0)
    except _TooLargeError as exc:
        raise ConfigError(f"{file}: {exc}") from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise ConfigError(f"{file}:{line}: YAML: {exc.reason}") from None
    except yaml.MarkedYAMLError as exc:
        what = ", ".join(filter(None, (exc.context, exc.problem)))
        raise ConfigError(f"{file}:{_position(exc)}: YAML: {what}") from None


def _position(exc: yaml.MarkedYAMLError) -> str:
    mark = exc.problem_mark or exc.context_mark
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1"


class _TooLargeError(Exception):
    """The document exceeds what an organism may hold."""


def _measure(text: str) -> None:
    """Refuse a document too large or too deep, without building it."""
    values = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        values += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        _bound(values, depth)


def _bound(values: int, depth: int) -> None:
    if values > MAX_VALUES:
        raise _TooLargeError(f"more than {MAX_VALUES} values, aliases written out")
    if depth > MAX_DEPTH:
        raise _TooLargeError(f"nested more than {MAX_DEPTH} deep")


class _Builder:
    """Turns PyYAML's nodes into ours, aliases and merge keys written out."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._values = 0

    def build(self, raw: yaml.Node, line: int, path: str, depth: int) -> Node:
        self._values += 1
        _bound(self._values, depth)
        if raw.tag not in _KNOWN_TAGS:
            self._problems.add(line, path, f"unknown YAML tag {quoted(raw.tag)}")
        if isinstance(raw, yaml.MappingNode):
            return Node(self._entries(raw, path, depth), line, path)
        if isinstance(raw, yaml.SequenceNode):
            items = [
                self.build(item, item.start_mark.line + 1, _short(f"{path}[{index}]"), depth + 1)
                for index, item in enumerate(raw.value)
            ]
            return Node(items, line, path)
        style = raw.style if isinstance(raw, yaml.ScalarNode) else ""
        return Node(raw.value, line, path, is_plain=not style)

    def _entries(self, raw: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        merged: list[yaml.Node] = []
        for key, value in raw.value:
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif not isinstance(key, yaml.ScalarNode):
                self._problems.add(line, path, "a key must be a word")
            elif key.value in found:
                first = found[key.value].line
                self._problems.add(
                    line, _join(path, key.value), f"given twice; first on line {first}"
                )
            else:
                place = _join(path, key.value)
                found[key.value] = self.build(value, line, place, depth + 1)
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                self._problems.add(source.start_mark.line + 1, path, "<<: expected a mapping")
                continue
            for name, node in self.build(source, 0, path, depth + 1).entries.items():
                found.setdefault(name, node)
        return found


def _join(path: str, key: str) -> str:
    shown = key if re.fullmatch(r"[\w.-]{1,60}", key) else quoted(key)
    return _short(f"{path}.{shown}") if path else shown


def _short(path: str) -> str:
    """The end of a long *path*; every value keeps its own, and a path grows as they nest."""
    return path if len(path) <= MAX_PATH_CHARS else f"…{path[1 - MAX_PATH_CHARS :]}"


def substitute(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    r"""*text* with `${NAME}` and `${NAME:-default}` filled in, and what is wrong with it.

    A default also stands in for an empty variable, as in a shell; `$${` is a literal `${`.

    >>> substitute("${A}-${B:-2} $${C}", {"A": "1"})
    ('1-2 ${C}', [])
    """
    wrong: list[str] = []
    return _VARIABLE.sub(_filler(environ, wrong), text), wrong


def _filler(environ: Mapping[str, str], wrong: list[str]) -> Callable[[re.Match[str]], str]:
    def fill(match: re.Match[str]) -> str:
        name, has_default, default = match.groups()
        if match[0] == "$${":
            return "${"
        if name is None:
            wrong.append('"${" must begin ${NAME} or ${NAME:-default}; write $${ for itself')
        elif has_default:
            return environ.get(name) or default
        elif name not in environ:
            wrong.append(f"environment variable {name} is not set; ${{{name}:-…}} gives a default")
        else:
            return environ[name]
        return ""

    return fill
