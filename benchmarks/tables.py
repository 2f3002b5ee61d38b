"""From what producers printed to tables of medians."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.measuring import Series, Table

#: What shows that a run did all it should.
COUNTS = ("answers", "processes")


def table(
    title: str,
    printed: Mapping[str, Sequence[Mapping[str, Any]]],
    columns: Mapping[str, str],
    *,
    sort_by: str,
    load: int = 0,
) -> Table:
    """One load's figures; a contestant that never came to an end has no row.

    Args:
        printed: what each contestant's producer printed, round by round.
        columns: which figures, and how they are headed.
        sort_by: the figure by which rows are ordered, highest first; lowest after a minus.
    """
    by = sort_by.removeprefix("-")
    sign = 1 if sort_by != by else -1
    rows = {
        name: {
            column: Series(name, [each["loads"][load][column] for each in rounds])
            for column in columns
        }
        for name, rounds in printed.items()
        if rounds
    }
    order = sorted(rows, key=lambda name: sign * rows[name][by].median)
    all_rounds = max([1, *map(len, printed.values())])
    return Table(
        title,
        list(columns.values()),
        {name: list(rows[name].values()) for name in order},
        {name: printed[name][-1]["versions"] for name in order},
        counts={
            name: [{key: each["loads"][load][key] for key in COUNTS} for each in printed[name]]
            for name in order
        },
        failed={
            name: all_rounds - len(rounds)
            for name, rounds in printed.items()
            if len(rounds) < all_rounds
        },
    )


def by_name(found: Table, column: int) -> dict[str, float]:
    """The medians of one column."""
    return {name: series[column].median for name, series in found.rows.items()}


def best(
    medians: Mapping[str, float], names: Iterable[str], which: Callable[..., str]
) -> str | None:
    """Of those *names* that have a median, the one with the highest (`max`) or lowest (`min`)."""
    there = [name for name in names if name in medians]
    return which(there, key=medians.__getitem__) if there else None
