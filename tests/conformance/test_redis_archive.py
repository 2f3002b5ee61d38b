"""What Redis keeps, read and replayed without a pump at work."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import msgspec
import pytest
import redis

from backends import BackendConfig
from backends.errors import LetterNotFoundError
from backends.mailbox import Hop
from backends.redis.archive import Archive
from backends.redis.records import Records
from pipeline import HandlerMetadata, HandlerResponse, StreamPump
from pipeline.errors import HandlerError
from pipeline.organism import Listener, Organism
from pipeline.stations import codec_of
from tests.servers import RedisServer


@dataclass
class Text:
    text: str


async def echo(payload: Text, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


@pytest.fixture
def organism(redis_server: RedisServer, redis_prefix: str) -> Organism:
    config = BackendConfig("redis", redis_url=redis_server.pump_url, redis_prefix=redis_prefix)
    return Organism("archive", (Listener("echo", echo, Text),), backend=config)


@pytest.fixture
def archive(organism: Organism) -> Iterator[Archive]:
    with Archive(organism.backend, codec_of(organism)) as opened:
        yield opened


async def dead_letter(organism: Organism) -> None:
    """Have a message die: its listener is not there any more."""
    other = Listener("gone", echo, Text)
    both = Organism("archive", (*organism.listeners, other), backend=organism.backend)
    async with StreamPump(organism), StreamPump(both, is_client=True) as client:
        with pytest.raises(HandlerError, match="no listener is called 'gone'"):
            await client.request("gone", Text("alas"), timeout_s=20)


async def test_a_long_conversation_is_told_whole(organism: Organism, archive: Archive) -> None:
    """Every hop and every answer, however many there are."""
    async with StreamPump(organism) as pump:
        for number in range(150):
            await pump.request("echo", Text(str(number)), thread_id="long", timeout_s=20)
    found = archive.conversation("long")
    assert found is not None
    assert (len(found.hops), len(found.answers)) == (150, 150)
    assert None not in found.answers.values()


async def test_a_replay_waits_for_a_pump(
    organism: Organism, archive: Archive, redis_client: redis.Redis
) -> None:
    """None may run, and the stream may have expired; the next one takes it."""
    await dead_letter(organism)
    ((name, letter),) = archive.letters(10)
    assert letter is not None
    redis_client.delete(f"{organism.backend.redis_prefix}s:inbox")
    assert archive.replay(name) == letter.envelope.conversation
    assert archive.letters(10) == []
    listener = Listener("gone", echo, Text)
    mended = Organism("archive", (*organism.listeners, listener), backend=organism.backend)
    async with StreamPump(mended), asyncio.timeout(20):
        while True:
            found = archive.conversation(letter.envelope.conversation)
            assert found is not None
            if not found.is_open:
                break
            await asyncio.sleep(0.01)
    assert [hop.to for hop in found.hops] == ["gone"]
    assert [hop.attempt for hop in found.hops] == [1]


async def test_a_letter_is_replayed_or_dropped_once(organism: Organism, archive: Archive) -> None:
    """Whoever is second is told."""
    for action in (archive.replay, archive.drop):
        await dead_letter(organism)
        ((name, _),) = archive.letters(1)
        action(name)
        for again in (archive.replay, archive.drop, archive.letter):
            with pytest.raises(LetterNotFoundError, match=name):
                again(name)


async def test_nothing_walks_the_database(
    organism: Organism, archive: Archive, redis_client: redis.Redis
) -> None:
    """Neither KEYS nor SCAN, and no more commands for many conversations than for few."""
    async with StreamPump(organism) as pump:
        for _ in range(50):
            await pump.request("echo", Text("a"), timeout_s=20)
    redis_client.config_resetstat()
    started = time.time()
    found = archive.conversations(5)
    assert len(found) == 5
    assert all(each.started_at is not None and each.started_at <= started for each in found)
    archive.letters(5)
    calls = {
        name.removeprefix("cmdstat_"): int(stats["calls"])
        for name, stats in redis_client.info("commandstats").items()
        if name.startswith("cmdstat_")
    }
    assert not {"keys", "scan"} & calls.keys()
    assert calls["hscan"] == 2 * 5
    assert calls["zrevrange"] <= 3


async def test_who_is_alive(organism: Organism, archive: Archive) -> None:
    """Pumps and clients hold leases; nobody else does."""
    assert archive.pumps() == 0
    async with StreamPump(organism):
        assert archive.pumps() == 1
        assert archive.workers() == []
    assert archive.pumps() == 0


def test_what_is_none_of_ours_is_left_out(
    organism: Organism, archive: Archive, redis_client: redis.Redis
) -> None:
    """The rest is shown all the same."""
    prefix = organism.backend.redis_prefix
    redis_client.zadd(f"{prefix}i:open", {"c": 1})
    hop = Hop("h", "to", "from", "t", "chain", "T", "host:1", 1, 1.0, 1.0)
    fields: dict[bytes, bytes] = {
        b"hgood": Records(codec_of(organism)).hop("good", hop),
        b"hbad": b"\x9b" + b"\xa1\xff" * 11,
        b"sgood": msgspec.msgpack.encode([3, "", "", 0, "pump", 0]),
        b"sbad": b"\xc1",
        b"r\xff": b"",
        b"tthread": b"",
    }
    redis_client.hset(f"{prefix}v:c", mapping=fields)  # type: ignore[arg-type]
    (found,) = archive.conversations(10)
    assert (found.hops, found.in_flight, found.threads, found.answers) == ([hop], 3, 1, {})


def test_what_is_not_kept(archive: Archive) -> None:
    """None, and no error."""
    assert archive.conversation(uuid4().hex) is None
    assert archive.conversation_of(uuid4().hex) is None
    assert archive.conversations(5) == []
    assert archive.letters(5) == []
