"""When a silent process counts as dead."""

from dataclasses import dataclass

#: Beats within one lease, so that some may fail; and the longest time between two.
BEATS_PER_LEASE = 5
LONGEST_BEAT_S = 2.0


@dataclass(frozen=True)
class Terms:
    """What the dead are judged by; seconds."""

    lease_s: float = 10.0
    max_attempts: int = 3
    no_worker_s: float = 300.0

    @property
    def beat_s(self) -> float:
        """Seconds between two beats."""
        return min(self.lease_s / BEATS_PER_LEASE, LONGEST_BEAT_S)

    @property
    def lease_ms(self) -> int:
        """The lease, as scripts take it."""
        return int(self.lease_s * 1000)
