"""Side by side, interleaved, repeated: the one way anything is measured here."""

import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from benchmarks.processes import ROOT, run_to_end, scratch_folder

PEERS = Path(__file__).parent / "peers"
#: Seconds that a contestant with one command may take; the longest fills a million messages.
LIMIT_S = 600.0


@dataclass(frozen=True)
class Contestant:
    """One command that prints a JSON object with its figure."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Series:
    """One contestant's figures over all rounds; at least one."""

    name: str
    figures: list[float]

    @property
    def median(self) -> float:
        """The middle figure."""
        return statistics.median(self.figures)

    @property
    def spread(self) -> str:
        """Lowest to highest."""
        return f"{min(self.figures):,.4g} to {max(self.figures):,.4g}"


def interleave(contestants: Sequence[Contestant], key: str, *, rounds: int) -> list[Series]:
    """Run all contestants in turn, *rounds* times, so that noise hits all alike.

    Args:
        key: which entry of the printed object is the figure.
    """
    series = [Series(each.name, []) for each in contestants]
    for number in range(rounds):
        for each, one in zip(contestants, series, strict=True):
            figure = run_once(each)[key]
            one.figures.append(figure)
            print(f"  round {number + 1}/{rounds}  {each.name}: {figure:,.4g}", file=sys.stderr)
    return series


def run_once(contestant: Contestant) -> dict[str, Any]:
    """Run one contestant to its end; what it printed last.

    However it ends, so do the servers it has started, and its temporary files are gone.

    Raises:
        RunFailedError: it failed, or came to no end.
    """
    with scratch_folder() as folder:
        last = run_to_end(contestant.command, folder, {}, limit_s=LIMIT_S)
    printed: dict[str, Any] = json.loads(last)
    return printed


def in_turn(
    runs: Mapping[str, Callable[[], dict[str, Any]]], rounds: int, *, tell: str
) -> dict[str, list[dict[str, Any]]]:
    """All that each run returned, by name; one that breaks off is told of and left out.

    Args:
        runs: run in this order, *rounds* times.
        tell: which entry of a load's figures is told of as it comes in.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            head = f"  round {number + 1}/{rounds}  {name}: "
            try:
                printed = run()
            except Exception as exc:  # noqa: BLE001 - others' figures must not go with it
                print(f"{head}FAILED: {exc}", file=sys.stderr)
                continue
            found[name].append(printed)
            figures = ", ".join(f"{load[tell]:,.4g}" for load in printed["loads"])
            print(f"{head}{figures} {tell}", file=sys.stderr)
    return found


def peer_python(name: str, *requirements: str) -> str:
    """The interpreter of a peer's own venv, made on first use: peers' pins conflict."""
    home = ROOT / f".venv-bench-{name}"
    python = home / "bin" / "python"
    stamp = home / ".installed"
    wanted = "\n".join(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"  installing {name} into {home.name}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        done = subprocess.run(
            [*install, *requirements], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{name} can't be installed:\n{done.stderr}")
        stamp.write_text(wanted)
    return str(python)


def machine() -> dict[str, str]:
    """What the figures are measured on, and how busy it is."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@dataclass(frozen=True)
class Target:
    """A figure that is wanted, and what came out."""

    figure: str
    wanted: str
    measured: str
    is_met: bool

    @classmethod
    def at_least(cls, figure: str, wanted: float, measured: float, unit: str = "x") -> "Target":
        """Met by *wanted* or more."""
        return cls(figure, f"≥ {wanted:g} {unit}", f"{measured:.3g} {unit}", measured >= wanted)

    @classmethod
    def at_most(cls, figure: str, wanted: float, measured: float, unit: str = "x") -> "Target":
        """Met by *wanted* or less."""
        return cls(figure, f"≤ {wanted:.3g} {unit}", f"{measured:.3g} {unit}", measured <= wanted)

    def row(self) -> str:
        """One line of the table of targets."""
        met = "met" if self.is_met else "NOT met"
        return f"{self.figure:<58}{self.wanted:>10}{self.measured:>12}  {met}"

    def as_json(self) -> dict[str, Any]:
        """The same."""
        return {
            "figure": self.figure,
            "wanted": self.wanted,
            "measured": self.measured,
            "met": self.is_met,
        }


class Result(Protocol):
    """What a scenario came to."""

    @property
    def targets(self) -> Sequence[Target]:
        """What was wanted of it."""

    def table_row(self) -> str:
        """Its part of the printed table; one line or several."""

    def as_json(self) -> dict[str, Any]:
        """Everything the table tells, and every single figure."""


@dataclass(frozen=True)
class Comparison:
    """Ours beside another's, as a ratio above 1 where ours is better."""

    title: str
    unit: str
    ours: Series
    theirs: Series
    more_is_better: bool
    targets: Sequence[Target] = ()

    @property
    def ratio(self) -> float:
        """Ours to theirs, or the other way round where less is better."""
        ratio = self.ours.median / self.theirs.median
        return ratio if self.more_is_better else 1 / ratio

    def table_row(self) -> str:
        """One line of the table, and one for each side."""
        sides = (
            f"{' ' * 54}{each.name}: {each.median:,.4g} {self.unit} ({each.spread})"
            for each in (self.ours, self.theirs)
        )
        return "\n".join([f"{self.title:<44}{self.ratio:>7.2f}x", *sides])

    def as_json(self) -> dict[str, Any]:
        """Everything the row tells, and every single figure."""
        return {
            "title": self.title,
            "unit": self.unit,
            "ratio": self.ratio,
            **{each.name: each.figures for each in (self.ours, self.theirs)},
        }


@dataclass(frozen=True)
class Table:
    """A row for each contestant, a column for each figure."""

    title: str
    #: What each figure is called, with its unit.
    columns: Sequence[str]
    #: By contestant, best first; each has a series for each column.
    rows: Mapping[str, Sequence[Series]]
    #: What of the contestants' packages was used.
    versions: Mapping[str, Mapping[str, str]]
    targets: Sequence[Target] = ()
    #: Counts that show that all was done: by contestant, as printed by its producer.
    counts: Mapping[str, Sequence[Mapping[str, int]]] | None = None
    #: In how many rounds a contestant came to no end; only those in which any did.
    failed: Mapping[str, int] = field(default_factory=dict)

    def with_targets(self, targets: Sequence[Target]) -> "Table":
        """The same, with what was wanted of it."""
        return replace(self, targets=targets)

    def table_row(self) -> str:
        """Title, head, and the rows."""
        width = max(map(len, [*self.rows, ""])) + 4
        head = " " * width + "".join(f"{name:<36}" for name in self.columns)
        lines = [
            f"  {name:<{width - 2}}"
            + "".join(f"{f'{each.median:,.4g} ({each.spread})':<36}" for each in series)
            for name, series in self.rows.items()
        ]
        lines += [
            f"  {name}: {', '.join(f'{package} {text}' for package, text in versions.items())}"
            for name, versions in self.versions.items()
            if versions
        ]
        lines += [f"  {name}: FAILED {times} times" for name, times in self.failed.items()]
        return "\n".join([self.title, head.rstrip(), *(line.rstrip() for line in lines)])

    def as_json(self) -> dict[str, Any]:
        """Every single figure, by contestant and column."""
        return {
            "title": self.title,
            "failed": dict(self.failed),
            "contestants": {
                name: {
                    "versions": self.versions[name],
                    "counts": (self.counts or {}).get(name, []),
                    "medians": dict(
                        zip(self.columns, (each.median for each in series), strict=True)
                    ),
                    "figures": dict(
                        zip(self.columns, (each.figures for each in series), strict=True)
                    ),
                }
                for name, series in self.rows.items()
            },
        }
