"""`make repeat`: the whole suite again and again, in another order each time.

`$RUNS` says how often, `$SEED` with which order to begin; the next runs take the seeds that follow.
What is given behind the command goes to pytest. The exit code is 1 where a run failed; all of what
such a run printed is shown.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence

DEFAULT_RUNS = 20
#: As `make test` runs it, without coverage.
COMMAND = (sys.executable, "-m", "pytest", "--quiet", "--numprocesses", "auto")
SPREAD = ("--maxprocesses", "4", "--dist", "worksteal")


def main(arguments: Sequence[str]) -> int:
    """Run them; say of each how it ended."""
    runs = int(os.environ.get("RUNS", DEFAULT_RUNS))
    first = int(os.environ.get("SEED") or random.randrange(10**6))  # noqa: S311 - an order, no secret
    failed = []
    for number in range(runs):
        seed = first + number
        started = time.monotonic()
        order = ("-p", "randomly", f"--randomly-seed={seed}")
        done = subprocess.run(
            [*COMMAND, *SPREAD, *order, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            failed.append(seed)
            sys.stdout.write(done.stdout + done.stderr)
        last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
        took_s = time.monotonic() - started
        sys.stdout.write(f"run {number + 1} of {runs}, seed {seed}, {took_s:.0f} s: {last}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{runs} runs, {len(failed)} failed{_named(failed)}\n")
    return 1 if failed else 0


def _named(seeds: Sequence[int]) -> str:
    return f": seeds {', '.join(map(str, seeds))}" if seeds else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
