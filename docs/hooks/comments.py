"""What the Python reference shows of a field: the comment above it, or what its `Meta` says.

`mkdocstrings` reads strings below fields; ours are described by `#:` above them.
"""

import ast
from typing import Any

from griffe import Attribute, Docstring, ExprName, ExprSubscript, ExprTuple, Extension

_MARK = "#:"


class FieldComments(Extension):
    """Griffe calls `on_attribute_instance` for every attribute it finds."""

    def on_attribute_instance(
        self, *, node: ast.AST | Any, attr: Attribute, agent: Any, **_: Any
    ) -> None:
        """Give *attr* a docstring, if it has none and is described otherwise."""
        match attr.annotation:
            case ExprSubscript(
                left=ExprName(name="Annotated"), slice=ExprTuple(elements=[kind, *_])
            ):
                attr.annotation = kind
        if attr.docstring is None and isinstance(node, ast.AnnAssign):
            text = _meta(node) or _comment(agent.code.splitlines(), node.lineno)
            if text:
                attr.docstring = Docstring(text, parent=attr)


def _meta(node: ast.AnnAssign) -> str:
    """The text of `Annotated[..., Meta("text")]`."""
    for each in ast.walk(node.annotation):
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "Meta" and each.args:
            text = ast.literal_eval(each.args[0])
            return str(text)
    return ""


def _comment(lines: list[str], line: int) -> str:
    """The `#:` lines right above *line*, which counts from 1."""
    found: list[str] = []
    for above in reversed(lines[: line - 1]):
        if not above.strip().startswith(_MARK):
            break
        found.insert(0, above.strip().removeprefix(_MARK).strip())
    return " ".join(found)
