"""What a settings class says about its own fields: range, secrecy, meaning.

Checks, the loader of `organism.yaml` and the configuration reference all read
the same field metadata, so none of them can drift from the dataclass.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, MISSING, dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pipeline.errors import ConfigError

#: Characters of a wrong value that an error repeats.
SHOWN_CHARS = 60
#: With more names than this, no near one is looked for: comparing is quadratic.
MAX_NAMES_COMPARED = 200


@dataclass(frozen=True, slots=True)
class Meta:
    """What a field's type does not say: `Annotated[int, Meta("Processes.", minimum=1)]`."""

    doc: str = ""
    _: KW_ONLY
    #: Its name in `organism.yaml` where that differs from the attribute's.
    key: str = ""
    minimum: float | None = None
    #: Exclusive lower bound.
    above: float | None = None
    #: The only values allowed, where the type is a plain `str`.
    choices: tuple[str, ...] = ()
    #: Its value never appears in an error.
    secret: bool = False
    #: A list that may also be written as its one item.
    single: bool = False
    #: Bound by whoever reads the file, not by type alone.
    is_apart: bool = False
    #: For a section: keys that are known and have no effect.
    passed: tuple[str, ...] = ()
    #: For a field whose type is a settings class without metadata of its own.
    inner: "Mapping[str, Meta] | None" = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a settings class; `type` has its annotations resolved."""

    name: str
    type: Any
    default: Any
    meta: Meta
    #: The settings of `type`, by key, if it is a settings class.
    inner: Mapping[str, "Setting"]

    @property
    def is_required(self) -> bool:
        """True when the field has no default."""
        return self.default is MISSING

    def problem(self, value: Any) -> str | None:
        """Why *value* is out of range, or None."""
        if self.meta.choices and value not in self.meta.choices:
            known = ", ".join(quoted(choice) for choice in self.meta.choices)
            return f"expected one of {known}, got {quoted(str(value))}"
        minimum, above = self.meta.minimum, self.meta.above
        if value is None or (minimum is None and above is None):
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return f"expected a finite number, got {value!r}"
        if minimum is not None and value < minimum:
            return f"must be at least {minimum:g}, got {value:g}"
        if above is not None and value <= above:
            return f"must be above {above:g}, got {value:g}"
        return None


@cache
def settings_of(cls: type) -> Mapping[str, Setting]:
    """The settings of a dataclass by their key, in the order of its fields."""
    return _settings(cls, None)


def _settings(cls: Any, described: Mapping[str, Meta] | None) -> Mapping[str, Setting]:
    hints = get_type_hints(cls, include_extras=True)
    found: dict[str, Setting] = {}
    for field in dataclasses.fields(cls):
        kind, *extras = (hints[field.name], (described or {}).get(field.name, Meta()))
        if get_origin(kind) is Annotated:
            kind, *extras = get_args(kind)
        meta = next(extra for extra in extras if isinstance(extra, Meta))
        default = field.default if field.default_factory is MISSING else field.default_factory
        inner = _settings(kind, meta.inner) if dataclasses.is_dataclass(kind) else {}
        found[meta.key or field.name] = Setting(field.name, kind, default, meta, inner)
    return MappingProxyType(found)


def range_problems(instance: Any) -> Iterator[tuple[str, str]]:
    """Each field of a settings object that is out of range: its name, and why."""
    for each in settings_of(instance.__class__).values():
        problem = each.problem(getattr(instance, each.name))
        if problem:
            yield each.name, problem


def check_ranges(instance: Any) -> None:
    """Refuse a settings object with a value out of range.

    Raises:
        ConfigError: one problem a field.
    """
    problems = [f"{name}: {text}" for name, text in range_problems(instance)]
    if problems:
        raise ConfigError(*problems)


def near(name: str, known: Iterable[str]) -> str:
    """A hint naming the known name that *name* most resembles, or nothing.

    >>> near("timout_s", ["timeout_s", "retries"])
    '; did you mean "timeout_s"?'
    """
    names = list(known)
    if len(names) > MAX_NAMES_COMPARED:
        return ""
    close = difflib.get_close_matches(name[:SHOWN_CHARS], names, n=1)
    return f"; did you mean {quoted(close[0])}?" if close else ""


def quoted(text: str) -> str:
    """*text* in double quotes, on one line, printable and of bounded length."""
    cut = text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
    return json.dumps(cut, ensure_ascii=not cut.isprintable())
