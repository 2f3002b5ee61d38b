"""What was aimed at, what was measured, and whether that is met.

`python -m benchmarks.targets [FILE ...]` prints the table from results that were kept.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results.json")


@dataclass(frozen=True)
class Target:
    """One row of the table."""

    title: str
    wanted: str
    measured: str
    met: bool

    def table_row(self) -> str:
        """One line."""
        fate = "met" if self.met else "not met"
        return f"{self.title:<64}{self.wanted:>14}{self.measured:>14}  {fate}"


@dataclass(frozen=True)
class Goal:
    """Where a row's figure is found, and its bound.

    `result` is the result's title, `key` the figure's name in its JSON.
    """

    title: str
    result: str
    key: str
    bound: float
    is_least: bool = True
    unit: str = "x"

    def judge(self, figure: float) -> Target:
        """The row that *figure* makes."""
        met = figure >= self.bound if self.is_least else figure <= self.bound
        sign = ">=" if self.is_least else "<="
        return Target(
            self.title,
            f"{sign} {self.bound:g} {self.unit}",
            f"{figure:,.4g} {self.unit}",
            met,
        )


#: One a row; those whose result is not there are left out of the table.
GOALS: Sequence[Goal] = (
    Goal(
        "e. memory mode against xml-pipeline",
        "two hops in memory, against xml-pipeline",
        "ratio",
        50,
    ),
    Goal(
        "e. redis mode, one pump, against plain redis-py's pipelines",
        "two hops over redis, against plain redis-py",
        "ratio",
        0.25,
    ),
    *(
        Goal(
            f"f. RedisBackend {operation} against the bare command",
            f"RedisBackend {operation}, against the bare command",
            "ratio",
            0.8,
        )
        for operation in ("append", "get_thread", "get_slot")
    ),
    *(
        Goal(
            f"g. {backend}, {step}, 1 M waiting against 1 k",
            f"{backend}, {step}, by messages waiting, cpu",
            "growth",
            1.25,
            is_least=False,
        )
        for backend in ("memory", "redis")
        for step in ("admit", "take, run and settle")
    ),
    Goal(
        "h. redis bytes per waiting message of 200 bytes",
        "redis, a waiting message of 200 bytes",
        "median",
        700,
        is_least=False,
        unit="B",
    ),
)


def targets(results: Iterable[dict[str, Any]], goals: Sequence[Goal] = GOALS) -> Iterator[Target]:
    """The rows that *results*, as their JSON, have figures for."""
    by_title = {result["title"]: result for result in results}
    for goal in goals:
        result = by_title.get(goal.result)
        if result is not None:
            yield goal.judge(result[goal.key])


def print_targets(results: Iterable[dict[str, Any]]) -> None:
    """The table, if it has a row."""
    rows = list(targets(results))
    if rows:
        print(f"\n{'target':<64}{'wanted':>14}{'measured':>14}")
    for row in rows:
        print(row.table_row())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=[RESULTS])
    results = []
    for file in parser.parse_args().files:
        results += json.loads(file.read_text())["results"]
    print_targets(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
