"""A conversation that is nothing yet but its first message: seen and used like any other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis

from backends import BackendConfig, create_backend
from backends.codec import Codec
from backends.protocol import Backend
from backends.redis.archive import Archive
from backends.redis.survey import Survey
from pipeline import HandlerMetadata, HandlerResponse, StreamPump
from pipeline.context_buffer import ContextBuffer
from pipeline.organism import CelerySettings, Listener, Organism, Serialization
from pipeline.stations import codec_of
from tests.servers import RedisServer

#: As JSON would name them: who asks, and whom.
LINK_END = ".external.echo"


@dataclass
class Text:
    text: str


class Scene:
    """An organism nobody runs yet, a message that waits for it, and those who look."""

    def __init__(self, organism: Organism, client: Any, backend: Backend) -> None:
        self.organism, self.backend, self.client = organism, backend, client
        self.prefix = organism.backend.redis_prefix
        self.codec: Codec = codec_of(organism)
        self.thread = ""

    def run_with(self, listener: Listener) -> None:
        """Whoever runs the message has this listener for it."""
        self.organism = replace(self.organism, listeners=(listener,))

    def kinds(self) -> set[str]:
        """The first letters of the keys that the conversation has for itself."""
        keys = self.client.scan_iter(f"{self.prefix}*:{self.thread}", count=1000)
        return {key.decode().removeprefix(self.prefix)[0] for key in keys}

    def texts(self) -> list[str]:
        """What its thread remembers."""
        buffer = ContextBuffer(self.backend, self.codec)
        slots = buffer.get_thread(self.thread)
        return [getattr(slot.payload, "text", "error") for slot in slots]

    async def answered(self) -> None:
        """Run the organism until the message is answered, and has left nothing behind."""
        async with StreamPump(self.organism), asyncio.timeout(20):
            while self.client.exists(f"{self.prefix}i:open"):
                await asyncio.sleep(0.01)
        assert self.client.xlen(f"{self.prefix}s:inbox") == 0
        with Archive(self.organism.backend, self.codec) as archive:
            found = archive.conversation(self.thread)
        assert found is not None
        assert [hop.to for hop in found.hops] == ["echo"]
        assert [answer is not None for answer in found.answers.values()] == [True]


async def echo(payload: Text, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Text(payload.text.upper()))


async def says_much(payload: Text, metadata: HandlerMetadata) -> list[HandlerResponse]:
    return [HandlerResponse.respond(payload) for _ in range(3)]


async def fails_once(payload: Text, metadata: HandlerMetadata) -> HandlerResponse:
    if metadata.attempt == 1:
        raise ValueError("not yet")
    return HandlerResponse.respond(Text(payload.text.upper()))


@pytest.fixture(params=["", "a key"], ids=["unsigned", "signed"])
def organism(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_prefix: str
) -> Organism:
    config = BackendConfig(
        "redis", redis_server.pump_url, redis_prefix, redis_ttl=60, max_slots_per_thread=3
    )
    signed = Serialization(signing_key=(request.param,) if request.param else ())
    listener = Listener("echo", echo, Text)
    return Organism("folded", (listener,), backend=config, serialization=signed)


@pytest.fixture
def backend(organism: Organism) -> Iterator[Backend]:
    opened = create_backend(organism.backend)
    yield opened
    opened.close()


@pytest.fixture
async def scene(
    organism: Organism, backend: Backend, redis_client: redis.Redis
) -> AsyncIterator[Scene]:
    scene = Scene(organism, redis_client, backend)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(StreamPump(organism, is_client=True))
        scene.thread = await client.inject("echo", Text("a"))
        assert scene.kinds() == set()
        yield scene


async def test_it_needs_no_reader_to_be_run(scene: Scene) -> None:
    """What it had in its message is in its keys once it is settled."""
    await scene.answered()
    assert scene.texts() == ["a", "A"]


#: Each with what it finds.
LOOKS: dict[str, tuple[Callable[[Scene], Any], Any]] = {
    "thread": (lambda scene: scene.texts(), ["a"]),
    "slot": (lambda scene: scene.backend.buffer_get_slot(scene.thread, 0) is None, False),
    "slot out of range": (lambda scene: scene.backend.buffer_get_slot(scene.thread, 1), None),
    "length": (lambda scene: scene.backend.buffer_thread_len(scene.thread), 1),
    "exists": (lambda scene: scene.backend.buffer_thread_exists(scene.thread), True),
    "threads": (lambda scene: scene.thread in scene.backend.buffer_list_threads(), True),
    "info": (lambda scene: scene.backend.info()["buffer_threads"], 1),
    "chain": (
        lambda scene: str(scene.backend.registry_get_chain(scene.thread)).endswith(LINK_END),
        True,
    ),
    "links": (
        lambda scene: scene.backend.registry_list_all()[scene.thread].endswith(LINK_END),
        True,
    ),
}


@pytest.mark.parametrize("look", LOOKS)
async def test_whoever_looks_finds_it(scene: Scene, look: str) -> None:
    """And it runs afterwards as if nobody had looked."""
    find, expected = LOOKS[look]
    for _ in range(2):
        assert find(scene) == expected
    await scene.answered()
    assert scene.texts() == ["a", "A"]


async def test_its_chain_leads_to_it(scene: Scene) -> None:
    """Told from the chain alone."""
    chain = scene.backend.registry_list_all()[scene.thread]
    assert scene.backend.registry_get_uuid(chain) == scene.thread


async def test_the_archive_shows_it(scene: Scene) -> None:
    """Open, with one message in flight."""
    with Archive(scene.organism.backend, scene.codec) as archive:
        (found,) = archive.conversations(5)
        assert found == archive.conversation(scene.thread)
        assert archive.conversation_of(scene.thread) == scene.thread
    assert (found.id, found.is_open, found.in_flight, found.threads) == (scene.thread, True, 1, 1)
    assert scene.kinds() == set()


async def test_the_console_shows_it(scene: Scene) -> None:
    """Its message too, and it stays as it is."""
    with Survey(scene.organism.backend, scene.codec) as survey:
        (brief,) = survey.briefs(survey.indexed(are_open=None, offset=0, limit=5))
        assert brief.conversation == survey.conversation(scene.thread)
        (message,) = survey.messages(scene.thread, 5)
        assert survey.messages("another", 5) == []
    assert message is not None
    assert scene.codec.decode(message[1]) == Text("a")
    assert (brief.is_large, brief.conversation.in_flight) == (False, 1)
    assert scene.kinds() == set()


async def test_a_slot_that_somebody_adds_comes_after_its_own(scene: Scene) -> None:
    """Whether or not they know of it."""
    slot = scene.codec.seal_slot(scene.codec.encode(Text("b")), scene.thread, "x", "y")
    assert scene.backend.buffer_append(scene.thread, slot) == 1
    await scene.answered()
    assert scene.texts() == ["a", "b", "A"]


async def test_one_whom_access_rules_keep_from_it_adds_to_it(scene: Scene) -> None:
    """What was there first stands first, and nothing of it expires before the rest."""
    slot = scene.codec.seal_slot(scene.codec.encode(Text("b")), scene.thread, "x", "y")
    key = f"{scene.prefix}t:{scene.thread}"
    scene.client.rpush(key, "", slot)
    scene.client.pexpire(key, 50_000)
    assert scene.backend.buffer_append("other", slot) == 0
    assert scene.backend.buffer_list_threads() != []
    await scene.answered()
    assert scene.texts() == ["a", "b", "A"]


async def test_its_slots_can_be_deleted(scene: Scene) -> None:
    """The message itself waits on."""
    assert scene.backend.buffer_delete_thread(scene.thread)
    assert scene.texts() == []
    await scene.answered()
    assert scene.texts() == ["A"]


async def test_everything_can_be_cleared(scene: Scene) -> None:
    """Slots and links."""
    scene.backend.buffer_clear()
    assert scene.texts() == []
    scene.backend.registry_clear()
    assert scene.backend.registry_get_chain(scene.thread) is None


async def test_its_chain_can_be_given_to_another(scene: Scene) -> None:
    """One chain, one id: it has none then."""
    chain = scene.backend.registry_list_all()[scene.thread]
    scene.backend.registry_set(chain, "other")
    assert scene.backend.registry_get_uuid(chain) == "other"
    assert scene.backend.registry_get_chain(scene.thread) is None
    assert scene.texts() == ["a"]


async def test_a_second_message_goes_on_with_it(scene: Scene) -> None:
    """Before the first one has run."""
    async with StreamPump(scene.organism, is_client=True) as client:
        await client.inject("echo", Text("b"), thread_id=scene.thread)
        async with StreamPump(scene.organism), asyncio.timeout(20):
            while scene.client.exists(f"{scene.prefix}i:open"):
                await asyncio.sleep(0.01)
    # The fourth found the thread full, which is said to whoever asked.
    assert len(scene.texts()) == 3


async def test_its_thread_has_its_limit(scene: Scene) -> None:
    """Its first slot counts: three more are one too many, and whoever asked is told."""
    scene.run_with(Listener("echo", says_much, Text))
    await scene.answered()
    assert scene.texts() == ["a", "error"]


async def test_it_is_tried_again(scene: Scene) -> None:
    """A retry is no beginning: it has keys of its own by then."""
    scene.run_with(Listener("echo", fails_once, Text, retries=1, backoff_s=0.01))
    await scene.answered()
    assert scene.texts() == ["a", "A"]


async def test_it_outlives_the_pump_that_took_it(scene: Scene) -> None:
    """Another takes its entry over, and that is another entry then."""
    inbox = f"{scene.prefix}s:inbox"
    assert scene.client.xreadgroup("pump", "dead", {inbox: ">"})
    scene.organism = replace(scene.organism, celery=CelerySettings(lease_s=1.0))
    await scene.answered()
    assert scene.texts() == ["a", "A"]
    assert scene.client.hget(f"{scene.prefix}l:counts", "taken_over") == b"1"


async def test_a_copy_begins_nothing_again(scene: Scene) -> None:
    """Neither while it is kept nor when it is forgotten."""
    ((_, fields),) = scene.client.xrange(f"{scene.prefix}s:inbox")
    await scene.answered()
    for is_kept in (True, False):
        if not is_kept:
            scene.client.delete(
                f"{scene.prefix}v:{scene.thread}", f"{scene.prefix}t:{scene.thread}"
            )
            scene.client.zrem(f"{scene.prefix}i:closed", scene.thread)
        scene.client.xadd(f"{scene.prefix}s:inbox", fields)
        async with StreamPump(scene.organism), asyncio.timeout(20):
            while scene.client.xlen(f"{scene.prefix}s:inbox"):
                await asyncio.sleep(0.01)
        assert scene.texts() == (["a", "A"] if is_kept else [])
    assert not scene.client.exists(f"{scene.prefix}i:open")


async def test_one_put_together_from_two_is_refused(scene: Scene) -> None:
    """With a key: the slot is bound to its chain, and both to the prefix."""
    if not scene.codec.signs:
        return
    inbox = f"{scene.prefix}s:inbox"
    async with StreamPump(scene.organism, is_client=True) as client:
        await client.inject("echo", Text("b"))
    (_, one), (_, other) = scene.client.xrange(inbox)
    chain = one[b"l"].replace(b".external.", b".somebody.")
    forgeries = (
        {**one, b"d": other[b"d"]},
        {**one, b"l": other[b"l"]},
        {**one, b"l": chain},
        {**one, b"m": other[b"m"]},
        {**one, b"m": b""},
        {**one, b"d": b"\x02\x00" + one[b"d"][18:]},
        {b"l": one[b"l"], b"p": b"x", b"d": one[b"d"]},
        {**one, b"l": b"no chain"},
        {**one, b"l": b"\xff"},
    )
    for forged in forgeries:
        scene.client.xadd(inbox, forged)
    await scene.answered()
    assert scene.client.hget(f"{scene.prefix}l:counts", "refused") == b"%d" % len(forgeries)
    assert scene.texts() == ["a", "A"]
