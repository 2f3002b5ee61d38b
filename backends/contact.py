"""Whether a server is there, as everybody in one process sees it: said once, each way."""

import logging
import re
import time
from collections.abc import Callable
from functools import cache
from threading import Lock

from backends.errors import BackendRefusingError

log = logging.getLogger(__name__)

#: Seconds before the first attempt to reach it again, and the most between two.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
#: Seconds after an outage in which connections may still turn out to be broken.
SETTLING_S = 2.0
#: Seconds without a refusal after which writes count as taken again: whoever is refused asks more
#: often, and a server that is full takes some and refuses others.
QUIET_S = 3.0
#: What a connection says that was broken while nobody used it.
_STALE = re.compile(r"closed|reset by peer|[Bb]roken pipe|[Cc]onnection lost")


class Contact:
    """Shared by all connections of one process to one server. Safe from many threads.

    Args:
        where: the server, without secrets.
        kind: what log lines call it.
        quiet_s: without a refusal, until writes count as taken again.
    """

    def __init__(self, where: str, kind: str = "redis", *, quiet_s: float = QUIET_S) -> None:
        self.where = where
        self._quiet_s = quiet_s
        self._kind = kind
        self._on_return: list[Callable[[], None]] = []
        self._lock = Lock()
        self._is_lost = False
        self._changed_at = 0.0
        self._stale_at = 0.0
        #: Something was sent, and its answer did not come.
        self._has_missed, self._missed_at = False, 0.0
        #: Why it takes no writes, since when, and when it last said so.
        self._refusal, self._refusing_since, self._refused_at = "", 0.0, 0.0
        #: When we last heard that it refuses for another reason, or for none.
        self._turned_at = 0.0

    def subscribe(self, on_return: Callable[[], None]) -> None:
        """Have *on_return* called when the server answers after it did not.

        By the thread that noticed. Said or not: an answer has gone astray. Where it only refused,
        none has.
        """
        self._on_return.append(on_return)

    def unsubscribe(self, on_return: Callable[[], None]) -> None:
        """Call it no more."""
        self._on_return = [each for each in self._on_return if each != on_return]

    @property
    def is_lost(self) -> bool:
        """True between a failure and the next answer."""
        return self._is_lost

    def lost(self, reason: BaseException, *, since: float) -> None:
        """It did not answer what was sent at *since* (`time.monotonic`).

        Connections that an outage has broken are noticed one by one, some of them long after
        it; they say nothing about now, and are left out.
        """
        if isinstance(reason, BackendRefusingError):
            self._refused(str(reason), since)
            return
        now = time.monotonic()
        with self._lock:
            self._has_missed, self._missed_at = True, now
            if self._is_lost or since < self._changed_at + SETTLING_S * bool(self._changed_at):
                return
            if _STALE.search(str(reason)) and now - self._stale_at > SETTLING_S:
                self._stale_at = now
                return
            self._is_lost, self._changed_at = True, now
        log.warning(
            "%s away",
            self._kind,
            extra={"action": "wait", "where": self.where, "reason": unquoted(str(reason))},
        )

    def answered(self, *, since: float) -> None:
        """It did answer what was sent at *since*."""
        if self._refusal:
            self._permit()
        if not self._has_missed:
            return
        now = time.monotonic()
        with self._lock:
            # An answer that was on its way already says nothing about now.
            if not self._has_missed or since < self._missed_at:
                return
            self._has_missed = False
            away_s = now - self._changed_at
            was_lost, self._is_lost = self._is_lost, False
            if was_lost:
                self._changed_at = now
        if was_lost:
            log.warning(
                "%s back",
                self._kind,
                extra={"action": "resume", "where": self.where, "away_s": round(away_s, 1)},
            )
        for on_return in tuple(self._on_return):
            on_return()

    def _refused(self, reason: str, since: float) -> None:
        """It answered what was sent at *since*: that it takes no writes."""
        now = time.monotonic()
        with self._lock:
            is_known = reason == self._refusal
            if not is_known and since < self._turned_at:
                # Its answer was on its way when we heard something newer.
                return
            self._refused_at = now
            if not self._refusal:
                self._refusing_since = now
            if not is_known:
                self._refusal, self._turned_at = reason, now
        if not is_known:
            # In the text, for whoever shows no fields: somebody has to act.
            log.warning("%s", reason, extra={"action": "wait", "where": self.where})

    def _permit(self) -> None:
        """It answered, and it may be a while since it refused anything."""
        now = time.monotonic()
        with self._lock:
            if not self._refusal or now - self._refused_at < self._quiet_s:
                return
            self._refusal, self._turned_at = "", now
            refused_s = now - self._refusing_since
        log.warning(
            "%s takes writes again",
            self.where,
            extra={"action": "resume", "where": self.where, "refused_s": round(refused_s, 1)},
        )


def unquoted(text: str) -> str:
    """What a server said, without the command that it repeats when it does not know it.

    A password or a payload may be among the arguments.

    >>> unquoted("unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'secret'")
    "unknown command 'HELLO'"
    """
    return text.partition(", with args beginning with")[0]


#: The contact with one server, the same for all who ask.
contact_with = cache(Contact)


def pause_s(failures: int) -> float:
    """Seconds to wait after this many failures in a row, the first being 1."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 16)))
