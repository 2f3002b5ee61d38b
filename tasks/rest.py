"""How long a worker waits that was given what it may not run: it would be given the same again."""

import time

#: Seconds at first, and as long as it goes on: as fast as Redis can tell would help nobody, while
#: those that fit are busy.
FIRST_REST_S, LONGEST_REST_S = 0.01, 0.25


class Rest:
    """Pauses between refusals, each twice the one before, until none was needed for a while."""

    def __init__(self) -> None:
        self._rest_s, self._ends_at = 0.0, 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the next refusal may be; 0 for now."""
        return max(0.0, self._ends_at - time.monotonic())

    def begin(self) -> None:
        """Something is refused now."""
        now = time.monotonic()
        is_over = now - self._ends_at > LONGEST_REST_S
        self._rest_s = FIRST_REST_S if is_over else min(2 * self._rest_s, LONGEST_REST_S)
        self._ends_at = now + self._rest_s
