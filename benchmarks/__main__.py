"""`make bench`: every comparison in one run, as a table of ratios and as JSON.

Figures depend on the machine and its neighbours; ratios measured in turn in one run less so.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import audit, backends, growth, hops, memory, pump, slots
from benchmarks.measuring import machine
from benchmarks.targets import table

SCENARIOS: dict[str, Callable[[int], Sequence[Any]]] = {
    "hops": hops.compare,
    "audit": audit.compare,
    "pump": pump.compare,
    "backends": backends.compare,
    "growth": growth.compare,
    "slots": slots.compare,
    "memory": memory.compare,
}


def main() -> int:
    """Run the scenarios asked for; 0 when all ran."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"))
    arguments = parser.parse_args()
    results: list[Any] = []
    for name in arguments.scenario or SCENARIOS:
        print(f"{name}: {arguments.rounds} rounds", file=sys.stderr)
        results += SCENARIOS[name](arguments.rounds)
    print(f"\n{'comparison':<44}{'ratio':>8}  medians (lowest to highest)")
    for result in results:
        print(result.table_row())
    print("\n".join(table(results)))
    report = {"machine": machine(), "results": [result.as_json() for result in results]}
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
