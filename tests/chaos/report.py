"""What a run under fire came to."""

from collections import Counter
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Report:
    """Counts of requests and runs; durations in seconds."""

    #: Asked, each under a message id of its own.
    accepted: int = 0
    #: Answered to whoever asked.
    completed: int = 0
    #: Times that a caller was told that its request came to nothing, and asked again.
    told: int = 0
    #: Answered with another number than is right.
    wrong: int = 0
    #: Conversations whose threads hold more than one answer left there, or another than its
    #: caller was given.
    doubled: int = 0
    #: Conversations whose threads hold less, or that Redis does not know.
    gaps: int = 0
    runs: int = 0
    expected_runs: int = 0
    deeds: Counter[str] = field(default_factory=Counter)
    #: From each deed until what its victim held was taken over: nothing is in its name any more.
    recoveries_s: list[float] = field(default_factory=list)
    #: The same without the times at which no pump ran that could take over: heirs have to start.
    attended_s: list[float] = field(default_factory=list)
    #: From each death of a pump until all it had been asked was answered by another.
    answers_s: list[float] = field(default_factory=list)
    #: From each request until its first answer.
    waits_s: list[float] = field(default_factory=list)
    duration_s: float = 0.0
    #: What the ledger has counted.
    ledger: dict[str, int] = field(default_factory=dict)
    #: Most memory that Redis has used.
    redis_mb: int = 0

    @property
    def unanswered(self) -> int:
        """Requests whose callers still wait."""
        return self.accepted - self.completed

    @property
    def lost(self) -> int:
        """Requests that were never answered, or left no trace."""
        return self.unanswered + self.gaps

    @property
    def is_whole(self) -> bool:
        """True when every answer came, once, and is right."""
        return not (self.lost or self.doubled or self.wrong or self.told)

    @property
    def slowest_s(self) -> float:
        """The longest recovery."""
        return max(self.recoveries_s, default=0.0)

    @property
    def slowest_attended_s(self) -> float:
        """The longest recovery, but for when no pump ran."""
        return max(self.attended_s, default=0.0)

    @property
    def waits(self) -> str:
        """How long callers waited who were answered."""
        ordered = sorted(self.waits_s)
        p99 = ordered[len(ordered) * 99 // 100] if ordered else 0.0
        return f"an answer took {_spread(ordered)}, p99 {p99:.1f} s"

    def __str__(self) -> str:
        deeds = ", ".join(f"{count} {deed}" for deed, count in sorted(self.deeds.items()))
        counted = ("taken_over", "published_again", "copies", "duplicates", "late_outcomes")
        ledger = ", ".join(f"{name} {self.ledger.get(name, 0)}" for name in counted)
        return (
            f"accepted {self.accepted}, completed {self.completed}, lost {self.lost},"
            f" doubled {self.doubled}, wrong {self.wrong}, told and asked again {self.told},"
            f" re-run {self.runs - self.expected_runs} of {self.expected_runs};"
            f" struck {deeds or 'nobody'}; taken over after {_spread(self.recoveries_s)};"
            f" answered elsewhere after {_spread(self.answers_s)};"
            f" took {self.duration_s:.0f} s, redis {self.redis_mb} MB; {ledger}"
        )


def _spread(durations_s: list[float]) -> str:
    if not durations_s:
        return "-"
    return f"p50 {median(durations_s):.1f} s, max {max(durations_s):.1f} s"
