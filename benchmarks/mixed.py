"""Mixed: one in twenty handlers burns 200 ms, the others 1 ms; batching must not make these wait.

Messages come at random moments, the same in every run, at half of what two processors can burn.
Latency counts from the moment a message was due, so that a producer that falls behind shows.
With batches as by default, beside none: a budget of 0 lets no message carry two runs. Once with a
listener for each kind, and once with one for both, whose durations tell the pump less. Where
others take so much of the machine that the load is above what is left, messages pile up and the
latencies tell of that alone: then the figure is called void.
"""

from collections.abc import Sequence

from benchmarks.contestants import OURSELVES, Run
from benchmarks.measuring import Table, Target, in_turn
from benchmarks.tables import by_name, table

MESSAGES, SHORT_MESSAGES = 1_500, 60
COLUMNS = {
    "p99_ms": "p99 ms of 1 ms",
    "p50_ms": "p50 ms of 1 ms",
    "large_p50_ms": "p50 ms of 200 ms",
    "others_percent": "others, %",
}
BATCHED, UNBATCHED = "batched", "unbatched"
KINDS = {"two-listeners": "two listeners", "one-listener": "one listener"}
#: Of the machine, taken by others.
MOST_OTHERS_PERCENT = 25
NO_BATCHES = {"batch_budget_ms": 0}


def compare(rounds: int, only: Sequence[str] = (), *, is_short: bool = False) -> list[Table]:
    """Both forms, batched and not, in turn; *only* names others, so it means nothing here."""
    messages = SHORT_MESSAGES if is_short else MESSAGES
    runs = {}
    for kind, called in KINDS.items():
        assignment = {"scenario": kind, "loads": [(0, messages)], "warm_up": 50}
        for name, celery in ((BATCHED, {}), (UNBATCHED, NO_BATCHES)):
            runs[f"{name}, {called}"] = Run(
                OURSELVES, assignment, producer="benchmarks.mixed_producer", celery=celery
            )
    printed = in_turn(runs, rounds, tell="p99_ms")
    title = f"mixed, {messages} messages, one in twenty of 200 ms, at half of capacity"
    found = table(title, printed, COLUMNS, sort_by="-p99_ms")
    medians = by_name(found, 0)
    others = max(by_name(found, list(COLUMNS).index("others_percent")).values(), default=0.0)
    targets = []
    for kind in KINDS.values():
        batched, unbatched = f"{BATCHED}, {kind}", f"{UNBATCHED}, {kind}"
        if batched in medians and unbatched in medians:
            ratio = medians[batched] / medians[unbatched]
            figure = f"d. p99 of small ones against unbatched, {kind}"
            if others > MOST_OTHERS_PERCENT:
                figure += " (void)"
            targets.append(Target.at_most(figure, 1.2, ratio))
    return [found.with_targets(targets)]
