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

#: Field of `l:service`: nothing, sealed by whoever started last.
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

    Args:
        is_told: leave word of our own key; not for those who come and go.
        pause: called with seconds to wait, while those who left other word may be alive and not
            have said so since Redis was away; for one lease at most, and then ours replaces it.
            None: none of them can be.
        oneself: who asks, as leases have it, if it may have one.

    Raises:
        SignatureError: pumps or workers run whose records could not be read here.
        RecordVersionError: such of another release run.
        BackendUnavailableError: Redis does not answer.
    """
    client = connect(config.redis_url)
    service = f"{config.redis_prefix}l:service"
    settled_at = time.monotonic() + (terms.lease_s if pause is not None else 0.0)
    try:
        with translated(describe(client)):
            while (fault := _fault_in(codec, client.hget(service, _FIELD))) is not None:
                if _others_live(client, config.redis_prefix, oneself):
                    if not isinstance(fault, SignatureError):
                        raise fault
                    raise SignatureError(
                        f"pumps or workers run at {describe(client)}, prefix"
                        f" {config.redis_prefix!r}, that sign otherwise: give all the same"
                        " serialization.signing_key, and replace a key step by step"
                    )
                if pause is None:
                    break
                if time.monotonic() > settled_at:
                    is_told = True
                    break
                pause(terms.beat_s / 4)
        if not is_told:
            return
        # A full server must keep nobody from starting.
        with suppress(BackendRefusingError), translated(describe(client)):
            client.hset(service, _FIELD, codec.seal(b"", "keys"))
            client.pexpire(service, terms.lease_ms * _LEASES_KEPT)
    finally:
        disconnect(client)


def _others_live(client: redis.Redis, prefix: str, oneself: str) -> bool:
    seconds, microseconds = client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    living: Any = client.zrangebyscore(f"{prefix}i:alive", now_ms, "+inf")
    return any(each != oneself.encode() for each in living)


def _fault_in(codec: Codec, word: object) -> CodecError | None:
    """Why it is not ours to read; None where it is, or nobody has left any."""
    try:
        if isinstance(word, bytes):
            codec.open(word, "keys")
    except CodecError as fault:
        return fault
    return None
