"""Whether those who share a Redis share a signing key; asked before one of them takes any work.

What a process can't verify it has to take for forged, and end. So one that was given other keys
would undo what the others do, and nobody would hear of it but by a count.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

from backends.codec import Codec
from backends.errors import BackendRefusingError, CodecError, SignatureError
from backends.protocol import BackendConfig
from backends.redis.connection import connect, describe, disconnect, translated
from backends.terms import Terms

#: Field of `l:service`: the word of whoever started last; with a pump's id behind it, that pump's.
#: Field of what a worker tells of itself: its own.
_FIELD = "k"
#: As long as leases are remembered; every beat sets this anew.
_LEASES_KEPT = 60


def agree_on_keys(  # noqa: PLR0913 - whom it concerns, and how it waits
    config: BackendConfig,
    codec: Codec,
    terms: Terms,
    *,
    is_told: bool = True,
    pause: Callable[[float], None] | None = None,
    oneself: str = "",
) -> None:
    """Refuse to work beside others whose key we do not have. Blocks.

    Each that lives has left a word of its own; who has not may have left the one we can't read.
    Waits for one lease at most, while those who left that may be alive, and have not said so since
    Redis was away: as long as their leases are remembered.

    Args:
        is_told: leave word of our own key; not for those who come and go.
        pause: waits for some seconds, whether or not a lease is remembered; afterwards our word
            replaces theirs.
        oneself: who asks, as leases have it, if it may have one.

    Raises:
        SignatureError: pumps or workers run whose records could not be read here.
        RecordVersionError: such of another release run.
        BackendUnavailableError: Redis does not answer.
    """
    client = connect(config.redis_url)
    service = f"{config.redis_prefix}l:service"
    settled_at = time.monotonic() + terms.lease_s
    try:
        with translated(describe(client)):
            while (fault := _fault_in(codec, client.hget(service, _FIELD))) is not None:
                lives, may_return = _others(client, config.redis_prefix, oneself, codec)
                if lives:
                    raise _refusal(fault, f"{describe(client)}, prefix {config.redis_prefix!r}")
                if time.monotonic() > settled_at or not (may_return or pause is not None):
                    is_told = is_told or pause is not None
                    break
                (pause or time.sleep)(terms.beat_s / 4)
        if not is_told:
            return
        # A full server must keep nobody from starting.
        with suppress(BackendRefusingError), translated(describe(client)):
            client.hset(service, _FIELD, word_of(codec))
            client.pexpire(service, terms.lease_ms * _LEASES_KEPT)
    finally:
        disconnect(client)


def word_of(codec: Codec) -> bytes:
    """Nothing, sealed: whoever has the key can open it. Each beat leaves it for others."""
    return codec.seal(b"", "keys")


def _others(client: redis.Redis, prefix: str, oneself: str, codec: Codec) -> tuple[bool, bool]:
    """Whether others live with another key, and whether leases are remembered that have run out."""
    seconds, microseconds = client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    leases: Any = client.zrangebyscore(f"{prefix}i:alive", "-inf", "+inf", withscores=True)
    ends = {member: end for member, end in leases if member != oneself.encode()}
    lives = any(
        not _is_ours(codec, _word_left_by(client, prefix, member))
        for member, end in ends.items()
        if end >= now_ms
    )
    return lives, any(end < now_ms for end in ends.values())


def _word_left_by(client: redis.Redis, prefix: str, member: bytes) -> object:
    kind, _, name = member.partition(b":")
    if kind == b"w":
        return client.hget(f"{prefix}w:".encode() + name, _FIELD)
    return client.hget(f"{prefix}l:service", _FIELD.encode() + name)


def _is_ours(codec: Codec, word: object) -> bool:
    return word is not None and _fault_in(codec, word) is None


def _refusal(fault: CodecError, where: str) -> CodecError:
    if not isinstance(fault, SignatureError):
        return fault
    return SignatureError(
        f"pumps or workers run at {where}, that sign otherwise: give all the same"
        " serialization.signing_key, and replace a key step by step"
    )


def _fault_in(codec: Codec, word: object) -> CodecError | None:
    """Why it is not ours to read; None where it is, or nobody has left any."""
    try:
        if isinstance(word, bytes):
            codec.open(word, "keys")
    except CodecError as fault:
        return fault
    return None
