"""Whether Redis is there, as everybody in one process sees it: said once, each way."""

import logging
import time
from collections.abc import Callable
from threading import Lock

log = logging.getLogger(__name__)

#: Seconds before the first attempt to reach Redis again, and the most between two.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


class Contact:
    """Shared by all connections of one process. Safe from many threads.

    Args:
        where: the server, without secrets.
        on_return: called when Redis answers again, from the thread that noticed.
    """

    def __init__(self, where: str, on_return: Callable[[], None] | None = None) -> None:
        self.where = where
        self._on_return = on_return
        self._lock = Lock()
        self._is_lost = False
        self._changed_at = 0.0

    @property
    def is_lost(self) -> bool:
        """True between a failure and the next answer."""
        return self._is_lost

    def lost(self, reason: Exception, *, since: float) -> None:
        """Redis did not answer what was sent at *since* (`time.monotonic`)."""
        with self._lock:
            # What was sent before Redis came back says nothing about now.
            if self._is_lost or since < self._changed_at:
                return
            self._is_lost, self._changed_at = True, time.monotonic()
        log.warning("redis away", extra={"action": "wait", "where": self.where, "reason": reason})

    def answered(self) -> None:
        """Redis did answer."""
        if not self.is_lost:
            return
        with self._lock:
            was_lost, self._is_lost = self._is_lost, False
            if not was_lost:
                return
            away_s, self._changed_at = time.monotonic() - self._changed_at, time.monotonic()
        log.warning(
            "redis back",
            extra={"action": "resume", "where": self.where, "away_s": round(away_s, 1)},
        )
        if self._on_return is not None:
            self._on_return()


def pause_s(failures: int) -> float:
    """Seconds to wait after this many failures in a row, the first being 1."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 16)))
