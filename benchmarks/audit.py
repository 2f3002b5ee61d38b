"""The audit of the standard library: the process pool beside one plain loop, and beside two.

Two loops at once tell what the machine's second core is worth: it may be half of another.
"""

import sys

from benchmarks.measuring import Comparison, Contestant, interleave
from benchmarks.processes import ROOT

EXAMPLE = ROOT / "examples" / "stdlib_audit"


def compare(rounds: int) -> list[Comparison]:
    """The same analysis: over two pool processes, in a loop, and in two loops at once."""
    timed = str(EXAMPLE / "timed.py")
    pool, loop, loops = interleave(
        [
            Contestant("process pool, 2 workers", [sys.executable, timed, "pool"]),
            Contestant("plain loop", [sys.executable, timed, "loop"]),
            Contestant("two loops at once, per audit", [sys.executable, timed, "loops"]),
        ],
        "seconds",
        rounds=rounds,
    )
    return [
        Comparison("audit, pool against a loop", "s", pool, loop, more_is_better=False),
        Comparison("audit, two loops against one", "s", loops, loop, more_is_better=False),
    ]
