"""Results that are no comparison of two: a figure by itself, and how one grows.

Like `measuring.Comparison`, each prints its line of the table and its part of the JSON.
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.measuring import Contestant, Result, Series, Target, run_once


class Titled(Result, Protocol):
    """A result that is found again in the JSON by its title."""

    @property
    def title(self) -> str:
        """Nobody else's."""


@dataclass(frozen=True)
class Figure:
    """One figure over all rounds, beside nothing."""

    title: str
    unit: str
    series: Series
    targets: Sequence[Target] = ()

    def table_row(self) -> str:
        """One line of the table."""
        series = self.series
        return f"{self.title:<54}{series.name}: {series.median:,.4g} {self.unit} ({series.spread})"

    def as_json(self) -> dict[str, Any]:
        """Its median, and every single figure."""
        return {
            "title": self.title,
            "unit": self.unit,
            "median": self.series.median,
            self.series.name: self.series.figures,
        }


@dataclass(frozen=True)
class Curve:
    """A cost against the size of something: flat is the goal.

    `points` has the figures of all rounds by size, smallest size first.
    """

    title: str
    unit: str
    #: What the sizes count.
    against: str
    points: Mapping[int, Sequence[float]]
    targets: Sequence[Target] = ()

    @property
    def growth(self) -> float:
        """The median at the largest size to that at the smallest; 1 is flat."""
        sizes = list(self.points)
        last, first = (statistics.median(self.points[sizes[at]]) for at in (-1, 0))
        return last / first

    def table_row(self) -> str:
        """The growth, and the median at each size."""
        medians = ", ".join(
            f"{size:,}: {statistics.median(figures):,.4g}" for size, figures in self.points.items()
        )
        return (
            f"{self.title:<44}{self.growth:>7.2f}x  {self.unit} against {self.against}: {medians}"
        )

    def as_json(self) -> dict[str, Any]:
        """The growth, and every single figure."""
        return {
            "title": self.title,
            "unit": self.unit,
            "against": self.against,
            "growth": self.growth,
            "points": {str(size): list(figures) for size, figures in self.points.items()},
        }


@dataclass(frozen=True)
class Grid:
    """Figures of one unit by row and column; a row may lack some columns."""

    title: str
    unit: str
    rows: Mapping[str, Mapping[str, Sequence[float]]]
    targets: Sequence[Target] = ()

    def table_row(self) -> str:
        """The medians."""
        columns = list(dict.fromkeys(column for row in self.rows.values() for column in row))
        lines = [f"{self.title}, {self.unit}", _line("", columns)]
        for name, row in self.rows.items():
            cells = (
                f"{statistics.median(row[each]):,.4g}" if each in row else "" for each in columns
            )
            lines.append(_line(name, cells))
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Every single figure."""
        rows = {
            name: {column: list(figures) for column, figures in row.items()}
            for name, row in self.rows.items()
        }
        return {"title": self.title, "unit": self.unit, "rows": rows}


def _line(name: str, cells: Iterable[str]) -> str:
    return f"  {name:<18}" + "".join(f"{cell:>20}" for cell in cells)


Rounds = Mapping[str, Mapping[str, Series]]


def interleave_all(
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    run: Callable[[Contestant], dict[str, Any]] = run_once,
) -> Rounds:
    """Like `measuring.interleave`, for contestants that print many figures at once.

    Returns:
        By contestant and by the figure's key, in the order printed.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for each in contestants:
            print(f"  round {number + 1}/{rounds}  {each.name}", file=sys.stderr)
            for key, figure in run(each).items():
                found[each.name][key].append(figure)
    return {
        name: {key: Series(name, figures) for key, figures in by_key.items()}
        for name, by_key in found.items()
    }
