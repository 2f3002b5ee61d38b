"""`python -m tests.chaos [messages] [seed …]`: the whole run, its report, and an exit code.

`python -m tests.chaos failover` is about the failovers of Sentinel, `python -m tests.chaos beside`
about the same kills with Celery alone.
"""

import sys
from collections.abc import Iterator

from tests.chaos import beside, failovers
from tests.chaos.driver import Chaos
from tests.chaos.outages import cuts, freezes, restarts
from tests.chaos.report import Report
from tests.chaos.scene import LEASE_S, scene
from tests.chaos.striker import KILLS, STOPS
from tests.servers import running_redis

MESSAGES = 20_000
SEEDS = (1, 2, 3)
#: Beyond a lease, what a take-over may take.
PATIENCE_S = 5.0


def storm(
    messages: int,
    seed: int,
    *,
    pause_s: tuple[float, float] = (1.0, 3.0),
    deeds: tuple[str, ...] = KILLS,
    limit_s: float = 1800.0,
) -> Report:
    """Pumps, workers and children are killed, or stopped, at random."""
    with running_redis() as server, running_redis() as counter, scene(server.url) as organism:
        chaos = Chaos(organism, seed=seed, counter=counter.url, pause_s=pause_s, deeds=deeds)
        try:
            return chaos.run(messages, limit_s=limit_s)
        finally:
            chaos.close()


def _everything(messages: int, seeds: list[int]) -> Iterator[tuple[str, Report, str]]:
    for seed in seeds:
        report = storm(messages, seed)
        yield f"kills, seed {seed}", report, str(report)
    report = storm(messages, seeds[0], deeds=STOPS)
    yield "stops", report, str(report)
    outage = restarts(messages, times=3, away_s=20.0)
    yield "restarts of redis", outage.report, str(outage)
    outage = freezes(messages, times=3, away_s=20.0)
    yield "freezes of redis", outage.report, str(outage)
    # Slow, because Celery's workers wait before they connect again.
    outage = cuts(messages // 4, seed=seeds[0])
    yield "lost answers of redis", outage.report, str(outage)


def main(arguments: list[str]) -> int:
    """Run everything; 0 if nothing was lost, doubled or slow to recover."""
    if arguments[:1] == ["failover"]:
        return failovers.main(*map(int, arguments[1:]))
    if arguments[:1] == ["beside"]:
        return beside.main(*map(int, arguments[1:]))
    messages, *seeds = (int(each) for each in arguments or (MESSAGES, *SEEDS))
    is_good = True
    for name, report, text in _everything(messages, seeds or list(SEEDS)):
        sys.stdout.write(f"{name}: {text}\n")
        sys.stdout.flush()
        is_good &= report.is_whole and report.slowest_s <= LEASE_S + PATIENCE_S
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
