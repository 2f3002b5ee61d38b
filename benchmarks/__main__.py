"""`make bench`: every comparison in one run, as tables and as JSON.

Figures depend on the machine and its neighbours; ratios measured in turn in one run less so.
"""

import argparse
import functools
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    audit,
    backends,
    growth,
    hops,
    latency,
    memory,
    mixed,
    pump,
    round_trip,
    signing,
    slots,
    work,
)
from benchmarks.contestants import FIELD
from benchmarks.measuring import Result, Table, machine
from benchmarks.processes import redis_program

#: Takes the number of rounds.
Scenario = Callable[[int], Sequence[Result]]
#: Beside others, who can be chosen; each has a short form of ours alone.
FIELDS: Mapping[str, Callable[..., Sequence[Result]]] = {
    "round-trip": round_trip.compare,
    "latency": latency.compare,
    "work": work.compare,
    "mixed": mixed.compare,
}
OTHERS: Mapping[str, Scenario] = {
    "hops": hops.compare,
    "audit": audit.compare,
    "signing": signing.compare,
    "pump": pump.compare,
    "backends": backends.compare,
    "growth": growth.compare,
    "slots": slots.compare,
    "memory": memory.compare,
}


def main() -> int:
    """Run the scenarios asked for; 0 when all ran, 1 when one or a contestant came to no end."""
    arguments = _arguments()
    # Processes that were started are ended on the way out, as after a Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    scenarios = {
        name: functools.partial(compare, only=arguments.only, is_short=arguments.short)
        for name, compare in FIELDS.items()
    } | ({} if arguments.short else dict(OTHERS))
    targets = []
    has_failed = False
    for name in arguments.scenario or scenarios:
        print(f"{name}: {arguments.rounds} rounds", file=sys.stderr)
        before = {**machine(), "redis": _redis_version()}
        results: Sequence[Result] = []
        try:
            results = scenarios[name](arguments.rounds)
        except Exception as exc:  # noqa: BLE001 - others' figures must not go with it
            print(f"{name}: FAILED: {exc}", file=sys.stderr)
            has_failed = True
        # Nothing, where it failed: what an earlier run wrote is no figure of this one.
        _keep(arguments.json, name, before, arguments.rounds, results)
        print("\n".join(f"{key}: {value}" for key, value in before.items()))
        print("\n".join(f"\n{result.table_row()}" for result in results), flush=True)
        has_failed |= any(isinstance(result, Table) and result.failed for result in results)
        targets += [target for result in results for target in result.targets]
    if targets:
        print(f"\n{'target':<58}{'wanted':>10}{'measured':>12}")
        print("\n".join(target.row() for target in targets))
    return int(has_failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*FIELDS, *OTHERS]
    parser.add_argument("scenario", nargs="*", choices=[*names, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[each.name for each in FIELD],
        help="of those beside each other, this one; may be repeated",
    )
    parser.add_argument("--short", action="store_true", help="ours alone, a few messages")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"))
    return parser.parse_args()


def _keep(
    path: Path, name: str, before: Mapping[str, str], rounds: int, results: Sequence[Result]
) -> None:
    """Write one scenario's figures; those of others stay as they are."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept[name] = {
        "machine": before,
        "rounds": rounds,
        "results": [result.as_json() for result in results],
        "targets": [target.as_json() for result in results for target in result.targets],
    }
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _redis_version() -> str:
    said = subprocess.run([redis_program(), "--version"], check=True, capture_output=True)
    return said.stdout.decode().split(" sha=")[0].strip()


if __name__ == "__main__":
    sys.exit(main())
