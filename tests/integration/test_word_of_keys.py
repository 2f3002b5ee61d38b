"""Whose word of a signing key counts, as one process that starts has it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from backends import BackendConfig
from backends.codec import Codec
from backends.errors import RecordVersionError, SignatureError
from backends.redis.agreement import agree_on_keys, word_of
from backends.redis.ledger import LedgerClient
from backends.terms import Terms
from tests.servers import RedisServer
from tests.waiting import eventually

#: Of no release's format, and of none at all.
UNREADABLE = (b"\xffword", b"", b"word")
NEVER = 9e15


@pytest.mark.parametrize("word", UNREADABLE)
def test_a_word_that_is_none_keeps_nobody_out_but_beside_others(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str, word: bytes
) -> None:
    """Of those who have left it none lives; then somebody does."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    terms, codec = Terms(lease_s=60.0), Codec(keys=["a key"], realm=redis_prefix)
    redis_client.hset(f"{redis_prefix}l:service", "k", word)
    agree_on_keys(config, codec, terms)
    assert redis_client.hget(f"{redis_prefix}l:service", "k") != word
    redis_client.hset(f"{redis_prefix}l:service", "k", word)
    redis_client.zadd(f"{redis_prefix}i:alive", {"p:other": NEVER})
    with pytest.raises(RecordVersionError):
        agree_on_keys(config, codec, terms)
    redis_client.expire(f"{redis_prefix}i:alive", 60)


def test_those_whose_lease_has_run_out_may_come_back(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Redis may have been away for as long as that; one that starts then gives them a lease."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    codec = Codec(keys=["a key"], realm=redis_prefix)
    theirs = Codec(keys=["another key"], realm=redis_prefix).seal(b"", "keys")
    service, alive = f"{redis_prefix}l:service", f"{redis_prefix}i:alive"
    redis_client.hset(service, "k", theirs)
    redis_client.zadd(alive, {"p:other": 1})
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(agree_on_keys, config, codec, Terms(lease_s=20.0))
        asks = {"zrangebyscore", "zcount"}
        assert eventually(
            lambda: starting.done() or any(c["cmd"] in asks for c in redis_client.client_list())
        )
        redis_client.zadd(alive, {"p:other": NEVER})
        with pytest.raises(SignatureError):
            starting.result()
    redis_client.zadd(alive, {"p:other": 1})
    agree_on_keys(config, codec, Terms(lease_s=0.2))
    assert redis_client.hget(service, "k") != theirs
    redis_client.expire(alive, 60)


def test_a_word_of_somebody_gone_sets_nobody_against_their_like(
    redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Those who live have said which key they have, and it is ours; or it is not."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    terms, codec = Terms(lease_s=60.0), Codec(keys=["a key"], realm=redis_prefix)
    service = f"{redis_prefix}l:service"
    stale = Codec(keys=["another key"], realm=redis_prefix).seal(b"", "keys")
    ledger = LedgerClient(config, codec, terms)
    caretaker = ledger.caretaker("pump", lambda _: None)
    caretaker.start()
    try:
        for worker in ("one", "other"):
            ledger.beat(worker, {"p": 1, "k": word_of(codec)})
        for oneself in ("w:one", "w:other", "p:pump", ""):
            redis_client.hset(service, "k", stale)
            agree_on_keys(config, codec, terms, oneself=oneself)
            assert redis_client.hget(service, "k") != stale
        for other in ("w:other", "p:pump"):
            redis_client.hset(service, "k", stale)
            hash_, field = (
                (service, "kpump") if other == "p:pump" else (f"{redis_prefix}w:other", "k")
            )
            before = redis_client.hget(hash_, field)
            redis_client.hset(hash_, field, stale)
            with pytest.raises(SignatureError):
                agree_on_keys(config, codec, terms, oneself="w:one")
            redis_client.hset(hash_, field, before)
    finally:
        for worker in ("one", "other"):
            ledger.leave(worker)
        caretaker.stop()
        ledger.close()
    assert not redis_client.hexists(service, "kpump")
