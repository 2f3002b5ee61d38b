"""What travels between the listeners."""

from dataclasses import dataclass, field


@dataclass
class Tree:
    """A folder of Python code; empty is the standard library of the interpreter at work.

    `paths` are its files, relative to `root`; the auditor lists them where the caller did not.
    """

    root: str = ""
    paths: list[str] | None = None


@dataclass
class Module:
    """One file of the tree; `path` is relative to `root`."""

    root: str
    path: str


@dataclass
class Function:
    """One function: its qualified name, where it begins, its lines and its complexity.

    Equal `shape` means clones; 0 is too small to be one.
    """

    name: str
    line: int
    lines: int
    complexity: int
    shape: int = 0


@dataclass
class ModuleReport:
    """What one module holds, or why it was skipped."""

    path: str
    lines: int = 0
    functions: list[Function] = field(default_factory=list)
    documented: int = 0
    documentable: int = 0
    imports: list[str] = field(default_factory=list)
    skipped: str = ""


@dataclass
class Findings:
    """Every module's report, in the order of their paths."""

    root: str
    modules: list[ModuleReport]


@dataclass
class Place:
    """A function within the tree."""

    path: str
    name: str
    line: int
    lines: int
    complexity: int = 0


@dataclass
class CloneGroup:
    """Places of the same shape; `places` may list the first of `count` only."""

    lines: int
    count: int
    places: list[Place]

    @property
    def repeated(self) -> int:
        """Lines beyond the first place's: by these groups are ranked."""
        return self.lines * (self.count - 1)


@dataclass
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass
class Report:
    """The audit's result; equal trees give equal reports."""

    root: str
    modules: int
    lines: int
    functions: int
    mean_complexity: float
    docstring_coverage: float
    most_complex: list[Place]
    longest: list[Place]
    most_imported: list[tuple[str, int]]
    complexity_histogram: list[tuple[str, int]]
    clone_groups: list[CloneGroup]
    clones_found: int
    skipped: list[Skipped]
