"""The answer to one command at a time is lost, and its connection broken: nothing else happens."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha1
from pathlib import Path

import pytest
import redis

from backends.redis.scripts import script_text
from pipeline import Gathered, HandlerMetadata, HandlerResponse, StreamPump
from pipeline.organism import Listener
from pipeline.organism_file import load_organism
from tests.chaos.handlers import Ask, Told
from tests.fleet import running_worker, write_organism
from tests.proxy import Proxy, running_proxy
from tests.servers import RedisServer
from tests.waiting import eventually

MEMBERS = 3
#: What a conversation that scatters over workers, with one retry, has Redis do.
SCRIPTS = ("publish", "claim", "complete", "beat")
COMMANDS = (
    *(b"\r\n%s\r\n" % name for name in (b"open", b"settle", b"gathered", b"defer")),
    b"XREADGROUP",
    b"XREAD\r\n",
    b"LPUSH",
)


def words_of(script: str) -> bytes:
    """What is in every command that runs *script*."""
    return sha1(script_text(script).encode(), usedforsecurity=False).hexdigest().encode()


async def stumble(payload: Ask | Gathered, metadata: HandlerMetadata) -> HandlerResponse:
    """Fail once, then scatter over workers."""
    if isinstance(payload, Gathered):
        return HandlerResponse.respond(Told(sum(each.number for each in payload.results)))
    if metadata.attempt == 1:
        raise ValueError
    return HandlerResponse.scatter([Ask(payload.number)] * MEMBERS, to="crunch")


@pytest.fixture
def proxy(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    # What handlers count goes past it.
    monkeypatch.setenv("CHAOS_REDIS", redis_server.url)
    with running_proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def organism_file(
    proxy: Proxy, redis_client: redis.Redis, redis_prefix: str, tmp_path: Path
) -> Iterator[Path]:
    url = f"redis://127.0.0.1:{proxy.port}/0"
    module = "tests.chaos.handlers"
    listener = {
        "name": "crunch",
        "handler": f"{module}.crunch",
        "payload_class": f"{module}.Ask",
        "cpu_bound": True,
    }
    yield write_organism(tmp_path / "organism.yaml", url, redis_prefix, [listener])
    for key in redis_client.scan_iter(match=f"celery.{redis_prefix}*", count=1000):
        redis_client.delete(key)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("keep_closed", [0, 1000])
async def test_any_answer_may_be_lost(
    organism_file: Path,
    proxy: Proxy,
    redis_client: redis.Redis,
    keep_closed: int,
) -> None:
    """Each conversation is answered all the same, and each of its messages entered once."""
    organism = load_organism(organism_file)
    stumbler = Listener("stumble", stumble, Ask, retries=1, backoff_s=0.0)
    organism = replace(
        organism,
        listeners=(*organism.listeners, stumbler),
        backend=replace(organism.backend, keep_closed=keep_closed),
    )
    cases = [*map(words_of, SCRIPTS), *COMMANDS]
    with running_worker(organism_file):
        async with StreamPump(organism) as pump:
            for number, words in enumerate(cases):
                proxy.lose_answer_to(words)
                conversation = f"c{number}"
                told = await pump.request(
                    "stumble", Ask(number), thread_id=conversation, timeout_s=30
                )
                assert told == Told(2 * MEMBERS * number), words
                assert await asyncio.to_thread(eventually, lambda: proxy.has_lost), words
                kinds = [type(slot.payload) for slot in pump.buffer.get_thread(conversation)]
                assert kinds == ([Ask, Gathered, Told] if keep_closed else []), words
    counts = redis_client.hgetall(f"{organism.backend.redis_prefix}l:counts")
    assert int(counts[b"accepted"]) == len(cases)


@pytest.mark.timeout(60)
async def test_the_answer_to_a_dispatch_may_be_lost(
    organism_file: Path, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """What a client sends goes by way of a pump, which dispatches it once."""
    organism = load_organism(organism_file)
    with running_worker(organism_file):
        async with StreamPump(organism), StreamPump(organism, is_client=True) as client:
            proxy.lose_answer_to(b"\r\ndispatch\r\n")
            told = await client.request("crunch", Ask(7), timeout_s=30)
            assert told.number == 14
            assert await asyncio.to_thread(eventually, lambda: proxy.has_lost)
    counts = redis_client.hgetall(f"{organism.backend.redis_prefix}l:counts")
    assert counts[b"dispatched"] == counts[b"completed"] == b"1"


@pytest.mark.timeout(60)
async def test_the_answer_to_what_leaves_at_once_may_be_lost(
    organism_file: Path, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """The message is on its way then, and comes in once all the same."""
    organism = load_organism(organism_file)
    with running_worker(organism_file):
        async with StreamPump(organism) as pump:
            # The first is published as ever, and tells how.
            await pump.request("crunch", Ask(1), timeout_s=30)
            proxy.lose_answer_to(b"\r\npublish_alone\r\n")
            told = await pump.request("crunch", Ask(7), timeout_s=30)
            assert told.number == 14
            assert await asyncio.to_thread(eventually, lambda: proxy.has_lost)
    counts = redis_client.hgetall(f"{organism.backend.redis_prefix}l:counts")
    assert counts[b"accepted"] == counts[b"dispatched"] == counts[b"completed"] == b"2"
