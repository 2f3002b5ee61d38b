"""Work: handlers that burn 1, 5, 20 and 100 ms of processor time on two worker processes.

Efficiency is the work itself over what two processors could have done in that time: sending,
Redis and every worker's own bookkeeping share those two. On a machine of two that others use as
well, the same over what these left is the fairer figure; without others both are one.
"""

from collections.abc import Sequence

from benchmarks.contestants import FIELD, OURS, OURSELVES, POOL, Run, chosen
from benchmarks.measuring import Table, Target, in_turn
from benchmarks.tables import best, by_name, table

#: Milliseconds, and messages: half a second to two of each.
LOADS: Sequence[tuple[int, int]] = ((1, 1_000), (5, 400), (20, 120), (100, 30))
SHORT_LOADS: Sequence[tuple[int, int]] = ((1, 100), (20, 10))
WARM_UP = 40
COLUMNS = {
    "efficiency": "efficiency",
    "efficiency_of_rest": "of what others left",
    "others_percent": "others, %",
    "processor_us": "CPU µs each",
}


def compare(rounds: int, only: Sequence[str] = (), *, is_short: bool = False) -> list[Table]:
    """All contestants in turn; a table for each duration."""
    contestants, loads = [each for each in chosen(only) if each.has_results], LOADS
    if is_short:
        contestants, loads = [OURSELVES], SHORT_LOADS
    assignment = {"scenario": "many", "loads": loads, "warm_up": WARM_UP}
    runs = {each.name: Run(each, assignment, is_busy=True) for each in contestants}
    printed = in_turn(runs, rounds, tell="efficiency")
    tables = []
    for index, (milliseconds, messages) in enumerate(loads):
        title = f"work, {messages} messages that burn {milliseconds} ms, 2 worker processes"
        found = table(title, printed, COLUMNS, sort_by="efficiency", load=index)
        tables.append(found.with_targets(_targets(milliseconds, by_name(found, 0))))
    return tables


def _targets(milliseconds: float, efficiency: dict[str, float]) -> list[Target]:
    if OURS not in efficiency:
        return []
    ours = efficiency[OURS]
    if milliseconds == 100:  # noqa: PLR2004 - the load that the target names
        return [Target.at_least("c. efficiency at 100 ms", 0.97, ours, "")]
    if milliseconds != 5:  # noqa: PLR2004 - the same
        return []
    targets = []
    peers = [each.name for each in FIELD if each.name not in (OURS, POOL)]
    if leader := best(efficiency, peers, max):
        ratio = ours / efficiency[leader]
        targets += [Target.at_least(f"c. efficiency at 5 ms, best peer's ({leader})", 1, ratio)]
    if POOL in efficiency:
        ratio = ours / efficiency[POOL]
        targets += [Target.at_least("c. efficiency at 5 ms, ProcessPoolExecutor's", 0.95, ratio)]
    return targets
