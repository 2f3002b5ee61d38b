"""Whether those who share a Redis share a signing key; asked before one of them takes any work.

What a process can't verify it has to take for forged, and end. So one that was given other keys
would undo what the others do, and nobody would hear of it but by a count.
"""

from contextlib import suppress

from backends.codec import Codec
from backends.errors import BackendRefusingError, SignatureError
from backends.protocol import BackendConfig
from backends.redis.connection import connect, describe, disconnect, translated
from backends.terms import Terms

#: Field of `l:service`: nothing, sealed by whoever started last.
_FIELD = "k"
#: As long as leases are remembered; every beat sets this anew.
_LEASES_KEPT = 60


def agree_on_keys(
    config: BackendConfig, codec: Codec, terms: Terms, *, is_told: bool = True
) -> None:
    """Refuse to work beside others whose key we do not have. Blocks.

    Args:
        is_told: leave word of our own key; not for those who come and go.

    Raises:
        SignatureError: pumps or workers run whose records could not be read here.
        BackendUnavailableError: Redis does not answer.
    """
    client = connect(config.redis_url)
    service, alive = f"{config.redis_prefix}l:service", f"{config.redis_prefix}i:alive"
    try:
        with translated(describe(client)):
            word = client.hget(service, _FIELD)
            if isinstance(word, bytes) and not _is_readable(codec, word):
                seconds, microseconds = client.time()
                now_ms = seconds * 1000 + microseconds // 1000
                if client.zcount(alive, now_ms, "+inf"):
                    raise SignatureError(
                        f"pumps or workers run at {describe(client)}, prefix"
                        f" {config.redis_prefix!r}, that sign otherwise: give all the same"
                        " serialization.signing_key, and replace a key step by step"
                    )
        if not is_told:
            return
        # A full server must keep nobody from starting.
        with suppress(BackendRefusingError), translated(describe(client)):
            client.hset(service, _FIELD, codec.seal(b"", "keys"))
            client.pexpire(service, terms.lease_ms * _LEASES_KEPT)
    finally:
        disconnect(client)


def _is_readable(codec: Codec, word: bytes) -> bool:
    try:
        codec.open(word, "keys")
    except SignatureError:
        return False
    return True
