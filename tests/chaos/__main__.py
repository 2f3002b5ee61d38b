"""`python -m tests.chaos [messages] [seed …]`: the whole run, its report, and an exit code."""

import sys
import tempfile
from pathlib import Path

from tests.chaos.driver import Chaos, Report
from tests.fleet import write_organism
from tests.servers import running_redis

MESSAGES = 20_000
SEEDS = (1, 2, 3)
LEASE_S = 5.0
#: Kept until all is counted.
KEEP_CLOSED = 1_000_000

LISTENERS = [
    {
        "name": name,
        "handler": f"tests.chaos.handlers.{name}",
        "payload_class": "tests.chaos.handlers.Ask",
        "cpu_bound": name == "crunch",
    }
    for name in ("crunch", "echo", "spread")
]


def storm(
    messages: int,
    seed: int,
    *,
    pause_s: tuple[float, float] | None = (1.0, 3.0),
    limit_s: float = 1800.0,
) -> Report:
    """One run on a server of its own."""
    with running_redis() as server, tempfile.TemporaryDirectory(prefix="pump-chaos-") as folder:
        organism = write_organism(
            Path(folder) / "organism.yaml",
            server.url,
            "chaos:",
            LISTENERS,
            celery={"lease_s": LEASE_S},
            backend={"keep_closed": KEEP_CLOSED},
        )
        chaos = Chaos(organism, seed=seed, pause_s=pause_s)
        try:
            return chaos.run(messages, limit_s=limit_s)
        finally:
            chaos.close()


def main(arguments: list[str]) -> int:
    """Run each seed; 0 if nothing was lost, doubled or slow to recover."""
    messages, *seeds = (int(each) for each in arguments or (MESSAGES, *SEEDS))
    failures = 0
    for seed in seeds or SEEDS:
        report = storm(messages, seed)
        sys.stdout.write(f"seed {seed}: {report}\n")
        sys.stdout.flush()
        is_slow = max(report.recoveries_s, default=0) > LEASE_S + 5
        failures += bool(report.lost or report.doubled or report.wrong or is_slow)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
