"""Runs while the primary of a watched Redis dies: a replica takes over what it has heard of."""

import sys
import time
from dataclasses import dataclass, field
from statistics import median
from threading import Event
from typing import Any

from tests.chaos.driver import Chaos
from tests.chaos.outages import Outage, outage_of
from tests.chaos.report import Report
from tests.chaos.scene import PREFIX, scene
from tests.sentinels import DOWN_AFTER_MS, watched_redis
from tests.servers import running_redis
from tests.waiting import eventually

#: Seconds of work before each death.
GAP_S = 5.0
#: Seconds a failover may take.
_MOVE_S = 30.0


@dataclass
class Failovers:
    """What a run came to whose primary was killed."""

    outage: Outage
    #: Times that another server became the primary: for a late answer as well.
    moves: int = 0
    #: From each death until another server took writes, and until the next answers came: the first
    #: one, and the first of a handler on workers.
    moved_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    worked_s: list[float] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """Counts."""
        return self.outage.report

    def __str__(self) -> str:
        return (
            f"{self.report.unanswered} unanswered, {self.report.gaps} answered and forgotten:"
            f" {self.outage}; new primary after {_spread(self.moved_s)}, next answer after"
            f" {_spread(self.first_s)}, next one of a worker after {_spread(self.worked_s)}"
        )


def failovers(  # noqa: PLR0913 - what happens in it
    messages: int,
    *,
    times: int,
    gap_s: float = GAP_S,
    behind_s: float = 0.0,
    options: tuple[str, ...] = (),
    replicas: int = 0,
    limit_s: float = 900.0,
) -> Failovers:
    """The primary is killed so many times, and started again if one more is to follow.

    Args:
        gap_s: seconds of work before each.
        behind_s: seconds before the death in which its replicas hear of nothing.
        options: of every server.
        replicas: `backend.redis_replicas`.
    """
    found = Failovers(Outage(Report(), [], [], []))
    deaths: list[float] = []
    with (
        watched_redis(*options, prefix=PREFIX) as watched,
        running_redis() as counter,
        scene(watched.url, redis_replicas=replicas) as organism,
    ):

        def strike(_is_over: Event) -> None:
            for index in range(times):
                time.sleep(gap_s)
                if behind_s:
                    watched.hold_replicas_back()
                    time.sleep(behind_s)
                deaths.append(time.monotonic())
                port = watched.kill_primary()
                if not eventually(lambda: watched.has_moved_from(port), timeout_s=_MOVE_S):  # noqa: B023
                    return
                found.moved_s.append(time.monotonic() - deaths[-1])
                if index < times - 1:
                    watched.revive(port)

        chaos = Chaos(organism, seed=1, counter=counter.url, pause_s=None)
        try:
            chaos.run(messages, limit_s=limit_s, beside=strike)
            found.outage, found.moves = outage_of(chaos), watched.failovers
            for death in deaths:
                # What was on its way already says nothing.
                heard = [each for each in chaos.heard if each[0] > death + DOWN_AFTER_MS / 2000]
                found.first_s += [when - death for when, _ in heard[:1]]
                found.worked_s += [when - death for when, kind in heard if kind == "crunch"][:1]
            return found
        finally:
            chaos.close()


def _spread(durations_s: list[float]) -> str:
    if not durations_s:
        return "-"
    return f"p50 {median(durations_s):.1f} s, max {max(durations_s):.1f} s"


#: What narrows a loss, each by itself.
_SETTINGS: dict[str, dict[str, Any]] = {
    "nothing set": {},
    "min-replicas-to-write 1, min-replicas-max-lag 1": {
        "options": ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
    },
    "backend.redis_replicas: 1": {"replicas": 1},
}


def main(messages: int = 8000, times: int = 2) -> int:
    """`python -m tests.chaos failover [messages] [times]`: 0 if everybody was answered.

    Then the same with replicas that have heard of nothing for a while.
    """
    is_good = True
    for behind_s in (0.0, 2.0, 5.0):
        for name, settings in _SETTINGS.items():
            for _ in range(times):
                # Enough to be at it all the while.
                enough = int(messages * (1 + behind_s / 6))
                found = failovers(enough, times=1, behind_s=behind_s, **settings)
                sys.stdout.write(f"replicas {behind_s:g} s behind, {name}: {found}\n")
                sys.stdout.flush()
                is_good &= not (found.report.unanswered or found.report.wrong)
                is_good &= found.report.is_whole or "replicas" not in settings
    return 0 if is_good else 1
