"""The audit of the standard library: the process pool beside one plain loop."""

import sys

from benchmarks.measuring import ROOT, Comparison, Contestant, interleave

EXAMPLE = ROOT / "examples" / "stdlib_audit"


def compare(rounds: int) -> Comparison:
    """The same analysis twice: over two pool processes, and in a loop without a pump."""
    timed = str(EXAMPLE / "timed.py")
    pool, loop = interleave(
        [
            Contestant("process pool, 2 workers", [sys.executable, timed, "pool"]),
            Contestant("plain loop", [sys.executable, timed, "loop"]),
        ],
        "seconds",
        rounds=rounds,
    )
    return Comparison("audit, 2 processes against 1", "s", pool, loop, more_is_better=False)
