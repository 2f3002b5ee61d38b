"""Whether a server is there, as everybody in one process sees it: said once, each way."""

import logging
import re
import time
from collections.abc import Callable
from functools import cache
from threading import Lock

from backends.errors import (
    BackendDeniedError,
    BackendRefusingError,
    BackendUnreplicatedError,
)

log = logging.getLogger(__name__)
#: What a user may not do only whoever tries it hears.
log_of_rights = logging.getLogger(f"{__name__}.rights")

#: Seconds before the first attempt to reach it again, and the most between two.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
#: Seconds after an outage in which connections may still turn out to be broken.
SETTLING_S = 2.0
#: Seconds without a refusal after which it counts as over: whoever is refused asks more often, and
#: a server that is full takes some and refuses others.
QUIET_S = 3.0
#: It knows us, and our user may do too little.
_OF_RIGHTS = " NOPERM:"
#: What a connection says that was broken while nobody used it.
_STALE = re.compile(r"closed|reset by peer|[Bb]roken pipe|[Cc]onnection lost")


class _Spell:
    """A time in which a server answers that it refuses, as one process hears of it.

    Args:
        end: what is said when it is over, after the server's name.
        quiet_s: without a refusal, until it is.
        log: where that is said.
    """

    def __init__(self, where: str, end: str, quiet_s: float, log: logging.Logger = log) -> None:
        self._where, self._end, self._quiet_s = where, end, quiet_s
        self._log = log
        self._lock = Lock()
        #: Why, since when, and when it last said so.
        self.reason, self._since, self._refused_at = "", 0.0, 0.0
        #: When we last heard that it refuses for another reason, or for none.
        self._turned_at = 0.0

    def refused(self, reason: str, since: float) -> None:
        """It refused what was sent at *since*; said if that is new."""
        now = time.monotonic()
        with self._lock:
            is_known = reason == self.reason
            if not is_known and since < self._turned_at:
                # Its answer was on its way when we heard something newer.
                return
            self._refused_at = now
            if not self.reason:
                self._since = now
            if not is_known:
                self.reason, self._turned_at = reason, now
        if not is_known:
            # In the text, for whoever shows no fields: somebody has to act.
            self._log.warning("%s", reason, extra={"action": "wait", "where": self._where})

    def permitted(self) -> None:
        """It answered, and it may be a while since it refused anything."""
        now = time.monotonic()
        with self._lock:
            if not self.reason or now - self._refused_at < self._quiet_s:
                return
            self.reason, self._turned_at = "", now
            refused_s = now - self._since
        self._log.warning(
            "%s %s",
            self._where,
            self._end,
            extra={"action": "resume", "where": self._where, "refused_s": round(refused_s, 1)},
        )


class Contact:
    """Shared by all connections of one process to one server. Safe from many threads.

    Args:
        where: the server, without secrets.
        kind: what log lines call it.
        quiet_s: without a refusal, until it counts as over.
    """

    def __init__(self, where: str, kind: str = "redis", *, quiet_s: float = QUIET_S) -> None:
        self.where = where
        self._of_writes = _Spell(where, "takes writes again", quiet_s)
        self._of_replicas = _Spell(where, "replicates again", quiet_s)
        self._of_access = _Spell(where, "lets us in again", quiet_s)
        self._of_rights = _Spell(where, "lets us do what is needed again", quiet_s, log_of_rights)
        self._kind = kind
        self._on_return: list[Callable[[], None]] = []
        self._lock = Lock()
        self._is_lost = False
        self._changed_at = 0.0
        self._stale_at = 0.0
        #: Something was sent, and its answer did not come.
        self._has_missed, self._missed_at = False, 0.0

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
            self._of_writes.refused(str(reason), since)
            return
        if isinstance(reason, BackendUnreplicatedError):
            self._of_replicas.refused(str(reason), since)
            return
        if isinstance(reason, BackendDeniedError):
            # Said though it was away a moment ago: waiting alone will not end this.
            is_of_rights = _OF_RIGHTS in str(reason)
            spell = self._of_rights if is_of_rights else self._of_access
            spell.refused(str(reason), since)
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
        for spell in (self._of_writes, self._of_replicas, self._of_access, self._of_rights):
            if spell.reason:
                spell.permitted()
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
