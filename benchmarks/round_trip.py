"""Round trips: many no-op messages of 200 bytes from one producer to two worker processes.

All are sent at once and all answers awaited. Rate, and processor time of producer, workers and
Redis together, which noise moves least. A rate does not depend on the number of messages, so the
slower ones get fewer, some seconds' worth.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks.contestants import CELERY, COUNTED, FIELD, OURS, OURSELVES, POOL, Run, chosen
from benchmarks.measuring import Table, Target, in_turn
from benchmarks.tables import best, by_name, table

MESSAGES = {CELERY: 2_000, COUNTED: 2_000, "rq": 1_000, "arq": 4_000, "taskiq": 4_000}
MOST = 10_000
WARM_UP = 1_000
COLUMNS = {"per_s": "round trips/s", "processor_us": "CPU µs each", "others_percent": "others, %"}


def compare(rounds: int, only: Sequence[str] = (), *, is_short: bool = False) -> list[Table]:
    """All contestants in turn."""
    runs = {each.name: Run(each, _assignment(each.name)) for each in chosen(only)}
    if is_short:
        runs = {OURS: Run(OURSELVES, {"scenario": "many", "loads": [(0, 500)], "warm_up": 100})}
    printed = in_turn(runs, rounds, tell="per_s")
    title = "round trips, no-op handlers, 200 bytes, 2 worker processes"
    found = table(title, printed, COLUMNS, sort_by="per_s")
    return [found.with_targets(_targets(found))]


def _assignment(name: str) -> dict[str, Any]:
    messages = MESSAGES.get(name, MOST)
    return {
        "scenario": "many",
        "loads": [(0, messages)],
        "warm_up": min(WARM_UP, messages // 5),
    }


def _targets(found: Table) -> list[Target]:
    """As far as there is somebody to compare with."""
    rates, costs = by_name(found, 0), by_name(found, 1)
    if OURS not in rates:
        return []
    peers = [each.name for each in FIELD if each.has_results and each.name not in (OURS, POOL)]
    targets = []
    if CELERY in rates:
        ratio = rates[OURS] / rates[CELERY]
        targets += [Target.at_least("a. rate against Celery alone with results", 15, ratio)]
    if fastest := best(rates, peers, max):
        ratio = rates[OURS] / rates[fastest]
        targets += [Target.at_least(f"a. rate against the fastest peer ({fastest})", 4, ratio)]
    if POOL in rates:
        ratio = rates[OURS] / rates[POOL]
        targets += [Target.at_least("a. rate against ProcessPoolExecutor(2)", 1, ratio)]
    if CELERY in costs:
        ratio = costs[OURS] / costs[CELERY]
        targets += [Target.at_most("a. CPU a round trip against Celery's", 1 / 15, ratio)]
    if cheapest := best(costs, peers, min):
        ratio = costs[OURS] / costs[cheapest]
        targets += [Target.at_most(f"a. CPU against the best peer's ({cheapest})", 1 / 4, ratio)]
    return targets
