"""`make soak`: ten minutes of load; `python -m tests.soak flood|slow|refusals`: other long days.

`$SOAK_SECONDS` says how long the soak is, `$FLOOD_MESSAGES` how large the flood. The exit code is 1
where memory grows, keys stay, or a message is lost.
"""

import os
import sys
from collections.abc import Callable

from tests.chaos.outages import refusals
from tests.soak.day import soak
from tests.soak.flood import flood
from tests.soak.slow import slow

DEFAULT_SECONDS, DEFAULT_MESSAGES, DEFAULT_LINES = 600.0, 200_000, 50_000


def _soak() -> tuple[str, bool]:
    day = soak(float(os.environ.get("SOAK_SECONDS", DEFAULT_SECONDS)))
    return str(day), day.is_good


def _flood() -> tuple[str, bool]:
    flooded = flood(int(os.environ.get("FLOOD_MESSAGES", DEFAULT_MESSAGES)))
    return str(flooded), flooded.is_good


def _slow() -> tuple[str, bool]:
    found = slow(DEFAULT_LINES, messages=DEFAULT_LINES // 10, stall_s=20.0)
    return "\n".join(map(str, found)), all(each.is_good for each in found)


def _refusals() -> tuple[str, bool]:
    outage = refusals(20_000, away_s=20.0, gap_s=5.0)
    return str(outage), outage.report.is_whole


RUNS: dict[str, Callable[[], tuple[str, bool]]] = {
    "soak": _soak,
    "flood": _flood,
    "slow": _slow,
    "refusals": _refusals,
}


def main(arguments: list[str]) -> int:
    """Run what is named, the soak by default."""
    is_good = True
    for name in arguments or ["soak"]:
        text, is_fine = RUNS[name]()
        sys.stdout.write(f"{name}\n{text}\n")
        sys.stdout.flush()
        is_good &= is_fine
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
