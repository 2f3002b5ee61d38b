"""`organism.yaml` to `Organism`: the layout of the file, and all its mistakes at once."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

from backends.protocol import BackendConfig
from pipeline.errors import ConfigError
from pipeline.imports import Importer, ImportPathError, hidden_modules
from pipeline.organism import (
    BACKEND_META,
    CelerySettings,
    Limits,
    Listener,
    ListenerProblem,
    Organism,
    ProcessPoolSettings,
    Serialization,
    ThreadScheduling,
    listener_problems,
)
from pipeline.settings import Meta, near, quoted, settings_of
from pipeline.yaml_binding import Binder
from pipeline.yaml_tree import MAX_FILE_BYTES, Node, Problems, parse

#: Sections of xml-pipeline files that configure what this pump does not have.
FOREIGN_SECTIONS = ("llm", "llm_backends", "gateways", "oob", "meta", "server", "auth", "tls")
FOREIGN_TOP = (*FOREIGN_SECTIONS, "max_concurrent_pipelines")
FOREIGN_ORGANISM = ("port", "identity", "max_concurrent_pipelines")
FOREIGN_LISTENER = (
    *("prompt", "model", "tool", "gateway", "allowed_tools", "blocked_tools"),
    *("temperature", "max_tokens", "verbose", "confirm_actions", "metadata"),
)
RENAMED_LISTENER = ("timeout_seconds",)
#: What may stand at the top level or in `organism:`, as well as in its own section.
HOISTED = ("thread_scheduling", "max_concurrent_handlers", "max_concurrent_per_agent")

#: Executors that need no plug-in.
EXECUTORS = ("inline", "process_pool", "celery")
EXECUTOR_GROUP = "celery_pump.executors"

REQUIRED = tuple(each.name for each in settings_of(Listener).values() if each.is_required)


class ConfigWarning(UserWarning):
    """A setting was read and has no effect; the text names file, line and setting."""


@dataclass(frozen=True)
class OrganismSection:
    """The `organism:` section; the last three also stand at the top level."""

    name: Annotated[str, Meta("Shown by every tool; begins each task's name.")]
    version: Annotated[str, Meta("For people.")] = ""
    description: Annotated[str, Meta("For people.")] = ""
    thread_scheduling: Annotated[ThreadScheduling | None, Meta("As at the top level.")] = None
    max_concurrent_handlers: Annotated[int | None, Meta("As in `limits`.", minimum=1)] = None
    max_concurrent_per_agent: Annotated[int | None, Meta("As in `limits`.", minimum=1)] = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("name must not be empty")


@dataclass(frozen=True)
class OrganismFile:
    """The top level of `organism.yaml`."""

    organism: Annotated[OrganismSection, Meta("Who this is.", passed=FOREIGN_ORGANISM)]
    listeners: Annotated[tuple[Listener, ...], Meta("Who receives messages.", is_apart=True)]
    backend: Annotated[BackendConfig, Meta("State that processes share.", inner=BACKEND_META)] = (
        field(default_factory=BackendConfig)
    )
    process_pool: Annotated[
        ProcessPoolSettings, Meta("Local processes for `cpu_bound` handlers.")
    ] = field(default_factory=ProcessPoolSettings)
    celery: Annotated[CelerySettings, Meta("The Celery fleet.")] = field(
        default_factory=CelerySettings
    )
    limits: Annotated[Limits, Meta("Bounds of one pump.")] = field(default_factory=Limits)
    serialization: Annotated[Serialization, Meta("How payloads travel between processes.")] = field(
        default_factory=Serialization
    )
    executor: Annotated[str | None, Meta("Where `cpu_bound` handlers run.")] = None
    thread_scheduling: Annotated[
        ThreadScheduling | None, Meta("Which waiting message is next: the oldest, or the newest.")
    ] = None
    max_concurrent_handlers: Annotated[int | None, Meta("As in `limits`.", minimum=1)] = None
    max_concurrent_per_agent: Annotated[int | None, Meta("As in `limits`.", minimum=1)] = None


def load_organism(path: str | os.PathLike[str]) -> Organism:
    """The organism declared in the file at *path*, with its handlers imported.

    The file's folder stays at the head of `sys.path`. Settings without effect
    give a `ConfigWarning` each.

    Raises:
        ConfigError: with every mistake, a line each.
    """
    file = Path(path)
    # First, for with one of our modules hidden nothing else can be trusted.
    hidden = hidden_modules(_folders(file))
    if hidden:
        raise ConfigError(*hidden)
    problems = Problems(str(path))
    reader = _Reader(file, parse(_read(file), problems), problems)
    organism = reader.organism()
    for text in reader.warnings():
        warnings.warn(f"{path}:{text}", ConfigWarning, stacklevel=2)
    return organism


def _folders(file: Path) -> list[Path]:
    """Where a user's modules come from: the file's folder, the current one where it is searched."""
    here = Path.cwd()
    return [file.absolute().parent, *([here] if {"", str(here)} & set(sys.path) else [])]


def _read(file: Path) -> bytes:
    try:
        # One byte more than allowed is enough for the parser to refuse.
        with file.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file") from None
    except OSError as exc:
        raise ConfigError(f"{file}: can't be read: {exc.strerror}") from None


class _Reader:
    """Binds one parsed file; keeps the tree, so that a later check finds its line."""

    def __init__(self, file: Path, root: Node, problems: Problems) -> None:
        self._file = file
        self._root = root
        self._problems = problems
        self._importer = Importer(file.absolute().parent)
        self._binder = Binder(problems, environ=os.environ, resolve=self._importer.resolve)

    def organism(self) -> Organism:
        found = self._binder.values(self._root, settings_of(OrganismFile), passed=FOREIGN_TOP)
        bound = self._listeners()
        listeners = self._checked(bound)
        self._check_modules(found)
        self._check_executors([(self._root, found), *zip(self._items(), bound, strict=True)])
        hoisted = {name: self._hoisted(name, found) for name in HOISTED}
        self._problems.raise_any()
        head = found.pop("organism")
        sections = {name: value for name, value in found.items() if name not in HOISTED}
        scheduling = hoisted.pop("thread_scheduling") or Organism.thread_scheduling
        limits = {name: value for name, value in hoisted.items() if value is not None}
        sections["limits"] = replace(found.get("limits", Limits()), **limits)
        return Organism(
            name=head.name,
            version=head.version,
            description=head.description,
            listeners=listeners,
            thread_scheduling=scheduling,
            path=self._file,
            **sections,
        )

    def warnings(self) -> Iterator[str]:
        """What was passed over: each name once, where it stands first."""
        top, items = self._root, self._items()
        yield from _passed_over(FOREIGN_SECTIONS, [top], "it belongs to another subsystem")
        yield from _passed_over(FOREIGN_LISTENER, items, "it belongs to another subsystem")
        yield from _passed_over(RENAMED_LISTENER, items, "it is called timeout_s here")
        yield from _passed_over(("max_concurrent_pipelines",), [top], "it has no meaning here")
        head = top.entries["organism"]
        yield from _passed_over(FOREIGN_ORGANISM, [head], "it has no meaning here")

    def _items(self) -> list[Node]:
        node = self._root.entries.get("listeners")
        return node.items if node else []

    def _listeners(self) -> list[dict[str, Any]]:
        """The well-formed settings of each listener."""
        node = self._root.entries.get("listeners")
        if node and not node.items:
            self._problems.add(node.line, node.path, "expected a list of listeners")
        settings = settings_of(Listener)
        return [
            self._binder.values(item, settings, passed=(*FOREIGN_LISTENER, *RENAMED_LISTENER))
            for item in self._items()
        ]

    def _checked(self, bound: list[dict[str, Any]]) -> tuple[Listener, ...]:
        """The listeners; where a setting is missing or malformed, with a stand-in for it."""
        stand_ins = dict.fromkeys(REQUIRED)
        listeners = tuple(Listener(**{**stand_ins, **values}) for values in bound)
        for problem in listener_problems(listeners):
            self._place(problem, self._items()[problem.position], bound[problem.position])
        return listeners

    def _place(self, problem: ListenerProblem, item: Node, bound: Mapping[str, Any]) -> None:
        """Note a listener's problem where it stands, unless it follows from one noted."""
        if any(name not in bound and name in {*REQUIRED, *item.entries} for name in problem.fields):
            return
        node = item.entries.get(problem.fields[0], item)
        if problem.item is not None:
            node = node.items[problem.item]
        self._problems.add(node.line, node.path, problem.text)

    def _check_modules(self, found: Mapping[str, Any]) -> None:
        if "serialization" not in found or not found["serialization"].modules:
            return
        items = self._root.entries["serialization"].entries["modules"].items
        for name, node in zip(found["serialization"].modules, items, strict=True):
            try:
                self._importer.module(name)
            except ImportPathError as exc:
                self._problems.add(node.line, node.path, str(exc))

    def _check_executors(self, sections: Iterable[tuple[Node, Mapping[str, Any]]]) -> None:
        known = {*EXECUTORS, *(point.name for point in entry_points(group=EXECUTOR_GROUP))}
        for section, values in sections:
            name = values.get("executor")
            if name is not None and name not in known:
                node = section.entries["executor"]
                hint = near(name, known) or f"; known: {', '.join(sorted(known))}"
                self._problems.add(node.line, node.path, f"unknown executor {quoted(name)}{hint}")

    def _hoisted(self, name: str, found: Mapping[str, Any]) -> Any:
        """A setting that may stand in either of several sections, but in one only."""
        sections = ("limits", "organism")
        homes = [(found, self._root.entries)] + [
            (vars(found[section]), self._root.entries[section].entries)
            for section in sections
            if section in found and section in self._root.entries
        ]
        written = [(values, entries[name]) for values, entries in homes if name in entries]
        for _, node in written[1:]:
            first = written[0][1]
            self._problems.add(
                node.line, node.path, f"already given as {first.path}, line {first.line}"
            )
        return written[0][0].get(name) if written else None


def _passed_over(names: Iterable[str], sections: list[Node], why: str) -> Iterator[str]:
    for name in names:
        node = next((each.entries[name] for each in sections if name in each.entries), None)
        if node:
            yield f"{node.line}: {node.path}: ignored; {why}"
