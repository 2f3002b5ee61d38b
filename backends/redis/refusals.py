"""What Redis refuses for now: whether to wait for it, and what somebody can do about it.

Imports nothing of ours, so that everybody may import it.
"""

import re
from typing import NamedTuple

import redis


class Refusal(NamedTuple):
    """An answer that speaks of the server's state, not of our command."""

    #: The first word of Redis's error.
    code: str
    #: What it means, and what helps; without anything of ours.
    text: str
    #: It still answers who only reads.
    is_of_writes: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


_REFUSALS = (
    Refusal(
        "OOM",
        "its memory is full; raise maxmemory, or free some (backend.keep_closed and redis_ttl say"
        " what is kept)",
        is_of_writes=True,
    ),
    Refusal(
        "MISCONF",
        "it can't save to its disk; make room there, or mend it (its log and INFO persistence tell"
        " more)",
        is_of_writes=True,
    ),
    Refusal(
        "READONLY",
        "it is a replica; wait for the failover, or name its primary in redis_url",
        is_of_writes=True,
    ),
    Refusal(
        "NOREPLICAS",
        "too few of its replicas are in touch; bring them back, or lower min-replicas-to-write",
        is_of_writes=True,
    ),
    Refusal("LOADING", "it is reading its data; wait until it has"),
    Refusal("MASTERDOWN", "it is a replica without its primary; bring that back"),
    Refusal("BUSY", "a script runs for too long; wait for it, or SCRIPT KILL"),
    Refusal("CLUSTERDOWN", "its cluster lacks nodes; bring them back"),
    Refusal("TRYAGAIN", "its cluster is moving these keys; wait until it has"),
)
_BY_CODE = {each.code: each for each in _REFUSALS}
_CODE = re.compile(rf"(?:^|[\s:-])({'|'.join(_BY_CODE)})\b")
#: Those that redis-py has classes for, whose text it takes the code from.
_BY_CLASS: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.ReadOnlyError, "READONLY"),
    (redis.exceptions.MasterDownError, "MASTERDOWN"),
    (redis.BusyLoadingError, "LOADING"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
)


def refusal_in(error: BaseException) -> Refusal | None:
    """What *error*, of Redis's or of a library that passes it on, says of the server's state.

    >>> refusal_in(redis.ResponseError("MISCONF Redis is configured to save RDB snapshots")).code
    'MISCONF'
    >>> refusal_in(redis.ResponseError("WRONGTYPE Operation against a key"))
    """
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return _BY_CODE[code]
    # A script of Redis 6 hides it in its text.
    found = _CODE.search(str(error)) if isinstance(error, redis.ResponseError) else None
    if found:
        return _BY_CODE[found[1]]
    return refusal_in(error.__cause__) if error.__cause__ is not None else None
