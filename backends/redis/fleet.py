"""What a whole fleet has to do and has done, as its Redis knows it: one script, whatever waits."""

import math
import time
from typing import Any, NamedTuple

from backends.protocol import BackendConfig
from backends.redis.caller import Caller
from backends.redis.connection import connect, disconnect
from backends.redis.scripts import OF_WATCHERS

#: What the ledger counts, by its own names.
COUNTS = (
    "accepted",
    "hops",
    "dispatched",
    "completed",
    "released",
    "retries",
    "taken_over",
    "published_again",
    "duplicates",
    "copies",
    "late_outcomes",
    "late_answers",
    "dead_letters",
    "replayed",
    "refused",
)


class Fleet(NamedTuple):
    """One moment; messages unless said otherwise. In the order that `gauge.lua` returns it."""

    #: For pumps: in the inbox, answers of workers included.
    waiting: int
    #: Taken by a pump and not settled.
    taken: int
    #: To be tried again later.
    delayed: int
    #: For workers: recorded or published, and not claimed.
    dispatched: int
    #: Held by a worker's process.
    claimed: int
    #: Of `dispatched`, those that no live worker can run.
    parked: int
    #: Conversations that have not ended.
    conversations: int
    #: Dead letters kept.
    letters: int
    #: Records set aside that were none of ours.
    quarantined: int
    #: Processes that hold a lease, and the processes of the workers' pools.
    pumps: int
    workers: int
    processes: int


class FleetReader:
    """Asks one Redis. Used from one thread at a time.

    Args:
        config: of a Redis backend.
    """

    def __init__(self, config: BackendConfig) -> None:
        self._client: Any = connect(config.redis_url)
        ttl_ms = math.ceil(config.redis_ttl * 1000)
        head = (config.redis_prefix, 0, ttl_ms, config.keep_closed)
        self._caller = Caller(self._client, head=head, scripts=OF_WATCHERS)

    def read(self) -> tuple[Fleet, dict[str, int], float]:
        """What there is, how often what has happened, and the seconds that took.

        Raises:
            BackendUnavailableError: Redis does not answer, or refuses for now.
            BackendError: it refuses.
        """
        started = time.monotonic()
        reply = self._caller.run("gauge", *COUNTS)
        took_s = time.monotonic() - started
        size = len(Fleet._fields)
        return Fleet(*reply[:size]), dict(zip(COUNTS, reply[size:], strict=True)), took_s

    def ping(self) -> float:
        """The seconds that Redis takes to answer at all.

        Raises:
            BackendUnavailableError, BackendError: as `read`.
        """
        started = time.monotonic()
        self._caller.call("PING")
        return time.monotonic() - started

    def close(self) -> None:
        """Close the connection."""
        self._caller.close()
        disconnect(self._client)
