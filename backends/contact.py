"""Whether a server is there, as everybody in one process sees it: said once, each way."""

import logging
import time
from collections.abc import Callable
from functools import cache
from threading import Lock

log = logging.getLogger(__name__)

#: Seconds before the first attempt to reach it again, and the most between two.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


class Contact:
    """Shared by all connections of one process to one server. Safe from many threads.

    Args:
        where: the server, without secrets.
        kind: what log lines call it.
    """

    def __init__(self, where: str, kind: str = "redis") -> None:
        self.where = where
        self._kind = kind
        self._on_return: list[Callable[[], None]] = []
        self._lock = Lock()
        self._is_lost = False
        self._changed_at = 0.0

    def subscribe(self, on_return: Callable[[], None]) -> None:
        """Have *on_return* called when the server answers again, by the thread that noticed."""
        self._on_return.append(on_return)

    def unsubscribe(self, on_return: Callable[[], None]) -> None:
        """Call it no more."""
        self._on_return = [each for each in self._on_return if each != on_return]

    @property
    def is_lost(self) -> bool:
        """True between a failure and the next answer."""
        return self._is_lost

    def lost(self, reason: BaseException, *, since: float) -> None:
        """It did not answer what was sent at *since* (`time.monotonic`)."""
        with self._lock:
            # What was sent before it came back says nothing about now.
            if self._is_lost or since < self._changed_at:
                return
            self._is_lost, self._changed_at = True, time.monotonic()
        log.warning(
            "%s away",
            self._kind,
            extra={"action": "wait", "where": self.where, "reason": reason},
        )

    def answered(self) -> None:
        """It did answer."""
        if not self.is_lost:
            return
        with self._lock:
            was_lost, self._is_lost = self._is_lost, False
            if not was_lost:
                return
            away_s, self._changed_at = time.monotonic() - self._changed_at, time.monotonic()
        log.warning(
            "%s back",
            self._kind,
            extra={"action": "resume", "where": self.where, "away_s": round(away_s, 1)},
        )
        for on_return in tuple(self._on_return):
            on_return()


#: The contact with one server, the same for all who ask.
contact_with = cache(Contact)


def pause_s(failures: int) -> float:
    """Seconds to wait after this many failures in a row, the first being 1."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 16)))
