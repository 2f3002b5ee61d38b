"""Side by side, interleaved, repeated: the one way anything is measured here."""

import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Contestant:
    """One command that prints a JSON object with its figure."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Series:
    """One contestant's figures over all rounds."""

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
    """Run one contestant to its end; what it printed last."""
    done = subprocess.run(
        contestant.command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    printed: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return printed


def peer_python(name: str, *requirements: str) -> str:
    """The interpreter of a peer's own venv, made on first use: peers' pins conflict."""
    home = ROOT / f".venv-bench-{name}"
    python = home / "bin" / "python"
    stamp = home / ".installed"
    if not stamp.exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        stamp.touch()
    return str(python)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


@dataclass(frozen=True)
class Comparison:
    """Ours beside another's, as a ratio above 1 where ours is better."""

    title: str
    unit: str
    ours: Series
    theirs: Series
    more_is_better: bool

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
