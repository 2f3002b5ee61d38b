"""Idle latency: no-op messages one after the other, each sent when the last is answered."""

from collections.abc import Sequence

from benchmarks.contestants import CELERY, OURS, OURSELVES, Run, chosen
from benchmarks.measuring import Table, Target, in_turn
from benchmarks.tables import by_name, table

MESSAGES, WARM_UP = 500, 100
COLUMNS = {"p50_ms": "p50 ms", "p99_ms": "p99 ms"}


def compare(rounds: int, only: Sequence[str] = (), *, is_short: bool = False) -> list[Table]:
    """All contestants from which answers come back, in turn."""
    contestants = [each for each in chosen(only) if each.has_results]
    load = (0, MESSAGES)
    if is_short:
        contestants, load = [OURSELVES], (0, 50)
    assignment = {"scenario": "each", "loads": [load], "warm_up": min(WARM_UP, load[1])}
    printed = in_turn(
        {each.name: Run(each, assignment) for each in contestants}, rounds, tell="p50_ms"
    )
    title = f"idle latency, {load[1]} no-op round trips one after the other"
    found = table(title, printed, COLUMNS, sort_by="-p50_ms")
    medians = by_name(found, 0)
    if OURS not in medians or CELERY not in medians:
        return [found]
    ratio = medians[OURS] / medians[CELERY]
    return [found.with_targets([Target.at_most("b. p50 against Celery alone", 0.8, ratio)])]
