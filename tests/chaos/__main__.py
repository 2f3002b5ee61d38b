"""`python -m tests.chaos [messages] [seed …]`: the whole run, its report, and an exit code."""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.chaos.driver import Chaos, Report
from tests.fleet import write_organism
from tests.proxy import running_proxy
from tests.servers import DurableRedis, running_redis

MESSAGES = 20_000
SEEDS = (1, 2, 3)
LEASE_S = 5.0
#: Kept until all is counted.
KEEP_CLOSED = 1_000_000

#: Seconds between two outages.
GAP_S = 5.0


class Outage(NamedTuple):
    """What a run came to while Redis was away, and how often each process said so."""

    report: Report
    away: list[int]
    back: list[int]


LISTENERS = [
    {
        "name": name,
        "handler": f"tests.chaos.handlers.{name}",
        "payload_class": "tests.chaos.handlers.Ask",
        "cpu_bound": name == "crunch",
    }
    for name in ("crunch", "echo", "spread")
]


@contextmanager
def _scene(url: str) -> Iterator[Path]:
    """An organism over the Redis at *url*, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="pump-chaos-") as folder:
        yield write_organism(
            Path(folder) / "organism.yaml",
            url,
            "chaos:",
            LISTENERS,
            celery={"lease_s": LEASE_S},
            backend={"keep_closed": KEEP_CLOSED},
        )


def storm(
    messages: int,
    seed: int,
    *,
    pause_s: tuple[float, float] = (1.0, 3.0),
    limit_s: float = 1800.0,
) -> Report:
    """Pumps, workers and children are killed at random."""
    with running_redis() as server, running_redis() as counter, _scene(server.url) as organism:
        chaos = Chaos(organism, seed=seed, counter=counter.url, pause_s=pause_s)
        try:
            return chaos.run(messages, limit_s=limit_s)
        finally:
            chaos.close()


def restarts(messages: int, *, times: int, away_s: float, limit_s: float = 900.0) -> Outage:
    """Redis is killed under load and started again from its append-only file."""
    with tempfile.TemporaryDirectory(prefix="pump-redis-") as folder:
        server = DurableRedis(Path(folder))
        server.start()
        try:
            return _outage(messages, server.url, server.kill, server.start, times, away_s, limit_s)
        finally:
            server.kill()


def freezes(messages: int, *, times: int, away_s: float, limit_s: float = 900.0) -> Outage:
    """Redis accepts connections and never answers."""
    with running_redis() as server, running_proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        return _outage(messages, url, proxy.freeze, proxy.thaw, times, away_s, limit_s)


def _outage(  # noqa: PLR0913, PLR0917 - what happens when
    messages: int,
    url: str,
    begin: Callable[[], None],
    end: Callable[[], None],
    times: int,
    away_s: float,
    limit_s: float,
) -> Outage:
    with running_redis() as counter, _scene(url) as organism:
        chaos = Chaos(organism, seed=1, counter=counter.url, pause_s=None)
        is_over = threading.Event()

        def strike() -> None:
            for _ in range(times):
                if is_over.wait(GAP_S):
                    return
                begin()
                is_over.wait(away_s)
                end()

        striking = threading.Thread(target=strike)
        striking.start()
        try:
            report = chaos.run(messages, limit_s=limit_s)
            striking.join()
            return Outage(
                report, _said(chaos.logs(), "redis away"), _said(chaos.logs(), "redis back")
            )
        finally:
            is_over.set()
            striking.join()
            chaos.close()


def _said(logs: list[str], text: str) -> list[int]:
    """How often each process said it."""
    return [log.count(text) for log in logs]


def main(arguments: list[str]) -> int:
    """Run everything; 0 if nothing was lost, doubled or slow to recover."""
    messages, *seeds = (int(each) for each in arguments or (MESSAGES, *SEEDS))
    failures = 0
    for seed in seeds or SEEDS:
        report = storm(messages, seed)
        _tell(f"seed {seed}: {report}")
        is_slow = max(report.recoveries_s, default=0) > LEASE_S + 5
        failures += bool(report.lost or report.doubled or report.wrong or is_slow)
    for name, happens in (("restarts", restarts), ("freezes", freezes)):
        outage = happens(messages, times=3, away_s=20.0)
        report = outage.report
        _tell(f"{name}: {report}; said away {outage.away}, back {outage.back}")
        failures += bool(report.lost or report.doubled or report.wrong)
    return min(failures, 1)


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
