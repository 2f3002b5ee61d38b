"""From located YAML to settings classes; every mistake is noted and reading goes on.

What a value must be is read from the field's type and `Meta`. Plain scalars
follow YAML 1.2, with `yes`, `no`, `on` and `off` as booleans besides.
"""

import contextlib
import re
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pipeline.errors import ConfigError
from pipeline.imports import ImportPathError
from pipeline.settings import SHOWN_CHARS, Setting, near, quoted
from pipeline.yaml_tree import MAX_FILE_BYTES, Node, Problems, substitute

_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLS = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
#: Bounded: Python refuses to read longer numbers.
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


#: Characters of a value that has variables in it, and of all values once these are filled in.
MAX_TEMPLATE_CHARS, MAX_FILLED_CHARS = 64 * 1024, MAX_FILE_BYTES


class _WrongError(Exception):
    """A value can't be bound; already noted."""


class Binder:
    """Binds nodes of one file to settings.

    Args:
        environ: What `${NAME}` is taken from.
        resolve: Turns an import path into the object; raises `ImportPathError`.
    """

    def __init__(
        self, problems: Problems, *, environ: Mapping[str, str], resolve: Callable[[str], Any]
    ) -> None:
        self._problems = problems
        self._environ = environ
        self._resolve = resolve
        self._filled_chars = 0

    def values(
        self, node: Node, settings: Mapping[str, Setting], *, passed: Collection[str] = ()
    ) -> dict[str, Any]:
        """The well-formed values of a section, by attribute name.

        Keys in *passed* are known, but not bound here.
        """
        if isinstance(node.value, dict):
            self._refuse_unknown(node, settings, passed)
        elif not _is_null(node):
            self._note(node, f"expected a mapping of settings, got {_shown(node)}")
            return {}
        found = {}
        for key, each in settings.items():
            if key not in node.entries:
                if each.is_required:
                    self._note(node, f"missing key {quoted(key)}")
            elif not each.meta.is_apart:
                with contextlib.suppress(_WrongError):
                    found[each.name] = self._bind(node.entries[key], each)
        return found

    def _refuse_unknown(
        self, node: Node, settings: Collection[str], passed: Collection[str]
    ) -> None:
        for key, entry in node.entries.items():
            if key not in settings and key not in passed:
                hint = near(key, settings) or f"; known keys: {', '.join(settings)}"
                self._problems.add(entry.line, node.path, f"unknown key {quoted(key)}{hint}")

    def _bind(self, node: Node, each: Setting) -> Any:
        value = self._convert(node, each.type, each)
        problem = each.problem(value)
        if problem:
            raise self._wrong(node, problem)
        return value

    def _convert(self, node: Node, kind: Any, each: Setting) -> Any:
        if each.inner:
            return self._section(node, each)
        if get_origin(kind) is tuple:
            return self._items(node, get_args(kind)[0], each)
        options = get_args(kind) if _is_union(kind) else (kind,)
        if isinstance(node.value, str):
            filled = self._fill(node)
            if types.NoneType in options and _is_null(filled):
                return None
            for option in options:
                value = self._scalar(filled, option, is_filled=filled is not node)
                if value is not None:
                    return value
            node = filled
        raise self._mismatch(node, kind, each)

    def _scalar(self, node: Node, kind: Any, *, is_filled: bool) -> Any:
        """*node* as *kind*, or None if it is something else."""
        text = node.text
        value = _plain(text) if node.is_plain else text
        if kind is str:
            return text if is_filled else _only(str, value)
        if get_origin(kind) is Literal:
            return text if text in get_args(kind) else None
        if _is_import(kind):
            return self._import(node)
        return float(value) if kind is float and type(value) is int else _only(kind, value)

    def _section(self, node: Node, each: Setting) -> Any:
        before = len(self._problems)
        values = self.values(node, each.inner, passed=each.meta.passed)
        if len(self._problems) > before:
            raise _WrongError
        try:
            return each.type(**values)
        except ConfigError as exc:
            raise self._wrong(node, *exc.problems) from None
        except ValueError as exc:
            raise self._wrong(node, str(exc)) from None

    def _items(self, node: Node, kind: Any, each: Setting) -> tuple[Any, ...]:
        if isinstance(node.value, list):
            found = []
            for item in node.value:
                with contextlib.suppress(_WrongError):
                    found.append(self._convert(item, kind, each))
            if len(found) < len(node.value):
                raise _WrongError
            return tuple(found)
        if _is_null(node):
            return ()
        if not each.meta.single:
            raise self._mismatch(node, tuple, each)
        value = self._convert(node, kind, each)
        return (value,) if value else ()

    def _import(self, node: Node) -> Any:
        try:
            return self._resolve(node.text)
        except ImportPathError as exc:
            raise self._wrong(node, str(exc)) from None

    def _fill(self, node: Node) -> Node:
        text = node.text
        if "${" not in text:
            return node
        if len(text) > MAX_TEMPLATE_CHARS:
            raise self._wrong(
                node, f"a value with ${{…}} in it may have {MAX_TEMPLATE_CHARS} characters"
            )
        filled, wrong = substitute(text, self._environ)
        self._filled_chars += len(filled)
        if self._filled_chars > MAX_FILLED_CHARS:
            raise self._wrong(node, f"${{…}} makes the file longer than {MAX_FILLED_CHARS}")
        if wrong:
            raise self._wrong(node, *wrong)
        # Quoted too: within {flow: "${N}"} there is no other way to write a number.
        return Node(filled, node.line, node.path, is_plain=True)

    def _mismatch(self, node: Node, kind: Any, each: Setting) -> _WrongError:
        got = "something else (not shown)" if each.meta.secret else _shown(node)
        return self._wrong(node, f"expected {_described(kind)}, got {got}")

    def _wrong(self, node: Node, *texts: str) -> _WrongError:
        for text in texts:
            self._note(node, text)
        return _WrongError()

    def _note(self, node: Node, text: str) -> None:
        self._problems.add(node.line, node.path, text)


def _plain(text: str) -> Any:
    """What a scalar without quotes stands for.

    >>> [_plain(text) for text in ("4", "1e3", "yes", "", "10:30")]
    [4, 1000.0, True, None, '10:30']
    """
    if text in _NULLS:
        return None
    if text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _only(kind: type, value: Any) -> Any:
    return value if type(value) is kind else None


def _is_null(node: Node) -> bool:
    return node.is_plain and node.value in _NULLS


def _is_union(kind: Any) -> bool:
    # `Literal["a"] | None` is a `Union` of another make.
    return get_origin(kind) in (types.UnionType, Union)


def _is_import(kind: Any) -> bool:
    return kind is type or get_origin(kind) is Callable


def _described(kind: Any) -> str:
    """What a value of *kind* is called in an error."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(quoted(option) for option in get_args(kind))}"
    if _is_union(kind):
        named = (option for option in get_args(kind) if option not in (types.NoneType, bytes))
        return " or ".join(_described(option) for option in named)
    if _is_import(kind):
        return "an import path"
    return "a list" if kind is tuple else str(kind.__name__)


def _shown(node: Node) -> str:
    """What stands at *node*, for an error."""
    if isinstance(node.value, list):
        return "a list"
    if isinstance(node.value, dict):
        return "a mapping"
    if _is_null(node):
        return "nothing"
    is_text = not node.is_plain or isinstance(_plain(node.value), str)
    return quoted(node.value) if is_text else node.value[:SHOWN_CHARS]
