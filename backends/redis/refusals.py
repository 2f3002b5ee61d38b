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
    #: It is about who we are, or what our user may do.
    is_of_access: bool = False

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
    Refusal(
        "NOAUTH",
        "it wants a user and a password; name them in the URL, or load its users again (ACL LOAD)",
        is_of_access=True,
    ),
    Refusal(
        "WRONGPASS",
        "it does not know this user or password; mend the URL, or load its users again (ACL LOAD; a"
        " restart forgets those that are not in its aclfile)",
        is_of_access=True,
    ),
    Refusal(
        "NOPERM",
        "this user may not do what is needed (ACL LOG tells what); connect workers as user worker,"
        " pumps and commands as user pump, or mend its rules after deploy/redis/users.acl, and"
        " load them (ACL LOAD)",
        is_of_access=True,
    ),
    Refusal(
        "DENIED",
        "its protected mode lets nobody in from afar; give it a password, or users",
        is_of_access=True,
    ),
    Refusal("LOADING", "it is reading its data; wait until it has"),
    Refusal("MASTERDOWN", "it is a replica without its primary; bring that back"),
    Refusal("BUSY", "a script runs for too long; wait for it, or SCRIPT KILL"),
    Refusal("CLUSTERDOWN", "its cluster lacks nodes; bring them back"),
    Refusal("TRYAGAIN", "its cluster is moving these keys; wait until it has"),
)
_BY_CODE = {each.code: each for each in _REFUSALS}
_CODE = re.compile(rf"(?:^|[\s:-])({'|'.join(_BY_CODE)})\b")
#: What a server says to whom it does not know yet, after its code.
_UNKNOWN = re.compile(r"NOAUTH|required|must be called with the client already")
#: Of rights that a script's caller lacks: up to Redis 7.0, and later.
_IN_SCRIPT = re.compile(r"user executing the script can't|ACL failure in script")
#: Those that redis-py has classes for, whose text it takes the code from.
_BY_CLASS: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.ReadOnlyError, "READONLY"),
    (redis.exceptions.MasterDownError, "MASTERDOWN"),
    (redis.BusyLoadingError, "LOADING"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
    (redis.exceptions.TryAgainError, "TRYAGAIN"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.AuthenticationError, "WRONGPASS"),
)


def refusal_in(error: BaseException) -> Refusal | None:
    """What *error*, of Redis's or of a library that passes it on, says of the server's state.

    >>> refusal_in(redis.ResponseError("MISCONF Redis is configured to save RDB snapshots")).code
    'MISCONF'
    >>> refusal_in(redis.ResponseError("WRONGTYPE Operation against a key"))
    """
    text = str(error)
    if isinstance(error, redis.AuthenticationError) and _UNKNOWN.search(text):
        return _BY_CODE["NOAUTH"]
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return _BY_CODE[code]
    if isinstance(error, redis.ResponseError):
        # A script of Redis 6 hides it in its text.
        found = _CODE.search(text)
        if found or _IN_SCRIPT.search(text):
            return _BY_CODE[found[1] if found else "NOPERM"]
    return refusal_in(error.__cause__) if error.__cause__ is not None else None
