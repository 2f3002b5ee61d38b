"""`make races`: the races at length; prints how many steps of which kind were run.

`$RACES_EXAMPLES` says how many races there are, `$RACES_STEPS` how long each may be.
"""

import logging
import os
import sys
import time

from hypothesis import Phase

from tests.machines import run_machine
from tests.races.machine import Races
from tests.servers import running_redis

DEFAULT_EXAMPLES, DEFAULT_STEPS = 600, 80


def main() -> None:
    """Race; an exception shows the shortest way to what went wrong."""
    examples = int(os.environ.get("RACES_EXAMPLES", DEFAULT_EXAMPLES))
    steps = int(os.environ.get("RACES_STEPS", DEFAULT_STEPS))
    # Take-overs are what this is about.
    logging.disable(logging.WARNING)
    started = time.monotonic()
    with running_redis() as server:
        machine = type("Machine", (Races,), {"url": server.url})
        phases = [Phase.generate, Phase.shrink]
        run_machine(
            machine,
            examples=examples,
            steps=steps,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
        )
    for name, count in sorted(Races.ran.items()):
        sys.stdout.write(f"{name:<26} {count:>8}\n")
    took = time.monotonic() - started
    total = Races.ran.total()
    sys.stdout.write(
        f"{total} steps in up to {examples} races, {took:.0f} s: every promise held after each\n"
    )


if __name__ == "__main__":
    main()
