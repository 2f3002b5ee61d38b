"""Records copied or moved by somebody who can write to Redis: what they can't bring about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from backends import BackendConfig, create_backend
from backends.errors import SignatureError
from backends.redis.archive import Archive
from pipeline import ContextBuffer, Gathered, HandlerMetadata, HandlerResponse, StreamPump
from pipeline.organism import Listener, Organism, Serialization
from pipeline.stations import codec_of
from tests.servers import RedisServer


@dataclass
class Note:
    number: int = 0
    texts: list[str] = field(default_factory=list)


class Bench:
    """A signed organism at work, and a thief who reads and writes its Redis."""

    def __init__(self, config: BackendConfig, client: Any) -> None:
        self.gate, self.last_gate = asyncio.Event(), asyncio.Event()
        self.runs: list[int] = []
        self.thief, self.prefix = client, config.redis_prefix
        self.inbox = f"{config.redis_prefix}s:inbox"
        listeners = (
            Listener("gated", self.gated, Note),
            Listener("last", self.last, Note),
            Listener("both", self.both, Note),
            Listener("spread", self.spread, Note),
        )
        signed = Serialization(signing_key=("a key of this bench",))
        self.organism = Organism("bench", listeners, backend=config, serialization=signed)
        self.codec = codec_of(self.organism)

    async def gated(self, payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        self.runs.append(payload.number)
        await self.gate.wait()
        return HandlerResponse.respond(Note(payload.number))

    async def last(self, payload: Note, metadata: HandlerMetadata) -> None:
        self.runs.append(payload.number)
        await self.last_gate.wait()

    async def both(self, payload: Note, metadata: HandlerMetadata) -> Any:
        if payload.number:
            return None
        return [HandlerResponse(Note(1), to="gated"), HandlerResponse(Note(2), to="last")]

    async def fail(self, payload: Note, metadata: HandlerMetadata) -> None:
        raise ValueError("no")

    async def spread(self, payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Gathered):
            return HandlerResponse.respond(Note(sum(each.number for each in payload.results)))
        return HandlerResponse.scatter([Note(n) for n in range(payload.number)], to="gated")

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.runs) < count:
                await asyncio.sleep(0.005)

    def entries(self) -> list[dict[bytes, bytes]]:
        """What stands in the inbox now, taken or not."""
        return [fields for _, fields in self.thief.xrange(self.inbox)]

    def replay(self, fields: dict[bytes, bytes]) -> None:
        self.thief.xadd(self.inbox, fields)

    async def idle(self) -> None:
        """Every entry has been taken and seen to."""
        async with asyncio.timeout(20):
            while self.thief.xlen(self.inbox):
                await asyncio.sleep(0.005)

    def counted(self, what: str) -> int:
        return int(self.thief.hget(f"{self.prefix}l:counts", what) or 0)

    def slots(self, thread_id: str) -> list[bytes]:
        return list(self.thief.lrange(f"{self.prefix}t:{thread_id}", 1, -1))

    def conversations(self) -> list[str]:
        return [key.decode() for key in self.thief.scan_iter(f"{self.prefix}v:*", count=1000)]


@pytest.fixture
async def bench(redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str) -> Bench:
    return Bench(BackendConfig("redis", redis_server.pump_url, redis_prefix), redis_client)


@pytest.fixture
async def pump(bench: Bench) -> AsyncIterator[StreamPump]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(StreamPump(bench.organism))
        bench.gate.set()
        bench.last_gate.set()


async def test_a_copy_of_a_message_enters_nothing_twice(bench: Bench, pump: StreamPump) -> None:
    """While its conversation is open: the handler may run again, what it says counts once."""
    await pump.inject("both", Note())
    await bench.begun(2)
    entry = next(each for each in bench.entries() if b"gated" in each[b"m"])
    for _ in range(3):
        bench.replay(entry)
    await bench.begun(5)
    bench.gate.set()
    async with asyncio.timeout(20):
        while bench.thief.xlen(bench.inbox) > 1:
            await asyncio.sleep(0.005)
    assert bench.counted("duplicates") == 3
    # What the copies took off no count keeps it open.
    assert bench.thief.zcard(f"{bench.prefix}i:open") == 1
    bench.last_gate.set()
    await bench.idle()
    assert bench.counted("hops") == 4
    assert bench.thief.zcard(f"{bench.prefix}i:open") == 0
    (conversation,) = bench.conversations()
    threads = [name for name in bench.thief.hkeys(conversation) if name[:1] == b"t"]
    assert sorted(len(bench.slots(name[1:].decode())) for name in threads) == [1, 1, 2]


async def test_a_copy_that_comes_late_changes_nothing(bench: Bench, pump: StreamPump) -> None:
    """Nor is an ended conversation opened again."""
    asked = asyncio.create_task(pump.request("gated", Note(7)))
    await bench.begun(1)
    (entry,) = bench.entries()
    bench.gate.set()
    await asked
    await bench.idle()
    kept = {key: bench.thief.hgetall(key) for key in bench.conversations()}
    bench.replay(entry)
    await bench.begun(2)
    await bench.idle()
    assert {key: bench.thief.hgetall(key) for key in bench.conversations()} == kept
    assert await pump.request("gated", Note(9)) == Note(9)


async def test_a_copy_of_a_finished_scatter_is_gathered_once(
    bench: Bench, pump: StreamPump
) -> None:
    """However many entries say that it is finished, and wherever its record is copied to."""
    asked = asyncio.create_task(pump.request("spread", Note(3)))
    await bench.begun(3)
    (conversation,) = bench.conversations()
    held = bench.thief.hgetall(conversation)
    (gather,) = [name[1:] for name in held if name.startswith(b"g")]
    elsewhere = f"{bench.prefix}v:elsewhere"
    # It looks finished there, with no answer at all.
    copied = {b"g" + gather: held[b"g" + gather], b"k" + gather: b"3", b"n" + gather: b"0"}
    bench.thief.hset(elsewhere, mapping=copied)
    bench.replay({b"g": gather, b"c": b"elsewhere"})
    async with asyncio.timeout(20):
        while not bench.counted("refused"):
            await asyncio.sleep(0.005)
    name = conversation.rpartition(":")[2].encode()
    for _ in range(5):
        bench.replay({b"g": gather, b"c": name})
    async with asyncio.timeout(20):
        while bench.thief.xlen(bench.inbox) > 3:
            await asyncio.sleep(0.005)
    bench.gate.set()
    assert await asked == Note(3)
    await bench.idle()
    assert bench.counted("hops") == 6
    assert bench.thief.zcard(f"{bench.prefix}i:open") == 0


async def test_an_entry_that_breaks_a_script_does_not_stop_a_pump(
    bench: Bench, pump: StreamPump
) -> None:
    """It names keys of the wrong type, or fields that are no numbers."""
    bench.gate.set()
    bench.thief.set(f"{bench.prefix}v:text", "no hash")
    bench.thief.hset(f"{bench.prefix}v:words", mapping={"gx": "a", "nx": "0", "kx": "c"})
    for name in (b"text", b"words"):
        bench.replay({b"g": b"x", b"c": name})
    assert await pump.request("gated", Note(3)) == Note(3)
    await bench.idle()
    assert bench.counted("refused") == 2


async def test_a_slot_is_no_slot_of_another_thread(bench: Bench, pump: StreamPump) -> None:
    """Whoever reads the thread it was put into is told."""
    bench.gate.set()
    for number in (1, 2):
        await pump.request("gated", Note(number))
    found = [bench.thief.hkeys(key) for key in bench.conversations()]
    one, other = (next(name[1:].decode() for name in each if name[:1] == b"t") for each in found)
    bench.thief.rpush(f"{bench.prefix}t:{other}", bench.slots(one)[0])
    thread = ContextBuffer(create_backend(bench.organism.backend), bench.codec).get_thread(other)
    with pytest.raises(SignatureError, match="stands in thread"):
        list(thread)


async def test_a_trace_shows_no_hop_that_was_made_up(bench: Bench, pump: StreamPump) -> None:
    """Neither an unsigned one nor another's."""
    bench.gate.set()
    await pump.request("gated", Note(1))
    (conversation,) = bench.conversations()
    held = bench.thief.hgetall(conversation)
    ((name, record),) = [(n, v) for n, v in held.items() if n[:1] == b"h"]
    bench.thief.hset(conversation, mapping={b"hcopy": record, b"hplain": record[18:]})
    with Archive(bench.organism.backend, bench.codec) as archive:
        found = archive.conversation(conversation.rpartition(":")[2])
    assert found is not None
    assert [hop.id for hop in found.hops] == [name[1:].decode()]


async def test_a_dead_letter_is_only_read_under_its_own_id(bench: Bench, pump: StreamPump) -> None:
    """Replaying one letter never sends another."""
    other = Organism(
        "bench",
        (*bench.organism.listeners, Listener("gone", bench.fail, Note)),
        backend=bench.organism.backend,
        serialization=bench.organism.serialization,
    )
    async with StreamPump(other, is_client=True) as client:
        for number in (1, 2):
            with pytest.raises(Exception, match="no listener is called 'gone'"):
                await client.request("gone", Note(number), timeout_s=20)
    key = f"{bench.prefix}l:letters"
    (one, record), (other_id, _) = bench.thief.hgetall(key).items()
    bench.thief.hset(key, other_id, record)
    with Archive(bench.organism.backend, bench.codec) as archive:
        assert archive.letter(one.decode()).code == "undeliverable"
        with pytest.raises(SignatureError):
            archive.replay(other_id.decode())
