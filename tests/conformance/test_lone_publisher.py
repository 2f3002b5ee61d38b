"""What comes alone leaves for the workers in the step that records it; all else is published."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from backends import BackendConfig
from backends.codec import Codec
from backends.mailbox import Carrier, Envelope, Opening, Scatter, Settlement, TaskMessage, Work
from backends.redis.ledger import LedgerClient
from backends.redis.mailbox import RedisMailbox
from backends.terms import Terms
from tests.conformance.mailbox_contract import envelope, opening, slot
from tests.servers import RedisServer

TERMS = Terms(lease_s=60.0)


class Alone(Carrier):
    """A carrier whose messages are the ids they carry; it keeps what it is told."""

    def __init__(self, queue: str) -> None:
        self.queue, self.is_open = queue, True
        self.told: list[tuple[str, str]] = []
        #: Times that somebody was to look for more to publish.
        self.woken = 0

    def message_for(self, listener: str, dispatch_id: str) -> TaskMessage | None:
        return TaskMessage(self.queue, dispatch_id.encode()) if self.is_open else None

    def was_sent(self, listener: str, dispatch_id: str) -> None:
        self.told.append((listener, dispatch_id))

    def wake(self) -> None:
        self.woken += 1


class Scene:
    """A mailbox whose messages all go to workers, and what Redis then holds."""

    def __init__(self, mailbox: RedisMailbox, client: Any, prefix: str) -> None:
        self.mailbox, self._client, self._prefix = mailbox, client, prefix
        self.carrier = Alone(f"celery.{prefix}cpu")
        mailbox.lone_publisher.carrier = self.carrier
        mailbox.on_publishable = self.carrier.wake
        mailbox.fingerprints["to"] = "fingerprint"

    @property
    def sent(self) -> list[str]:
        """What workers would take, oldest first."""
        return [raw.decode() for raw in reversed(self._client.lrange(self.carrier.queue, 0, -1))]

    @property
    def ready(self) -> list[str]:
        """What is left to the publisher."""
        return [raw.decode() for raw in self._client.lrange(f"{self._prefix}l:ready", 0, -1)]

    @property
    def unclaimed(self) -> set[str]:
        """What counts as published."""
        return {raw.decode() for raw in self._client.zrange(f"{self._prefix}l:published", 0, -1)}


@pytest.fixture
def config(redis_server: RedisServer, redis_prefix: str) -> BackendConfig:
    return BackendConfig(
        "redis", redis_url=redis_server.pump_url, redis_prefix=redis_prefix, redis_ttl=60
    )


@pytest.fixture(params=[(), ("a key",)], ids=["unsigned", "signed"])
def codec(request: pytest.FixtureRequest, config: BackendConfig) -> Codec:
    return Codec(keys=request.param, realm=config.redis_prefix)


@pytest.fixture
async def scene(
    config: BackendConfig, codec: Codec, redis_client: redis.Redis
) -> AsyncIterator[Scene]:
    mailbox = RedisMailbox(config, codec, TERMS)
    await mailbox.start()
    scene = Scene(mailbox, redis_client, config.redis_prefix)
    yield scene
    await mailbox.stop()
    redis_client.delete(scene.carrier.queue)


@pytest.fixture
def ledger(config: BackendConfig, codec: Codec) -> Iterator[LedgerClient]:
    ledger = LedgerClient(config, codec, TERMS)
    yield ledger
    ledger.close()


async def taken(scene: Scene, names: str) -> list[Envelope]:
    """Messages that wait for a pump, in its hands; what they send goes to workers."""
    scene.mailbox.fingerprints.clear()
    for name in names:
        await scene.mailbox.open(opening(name))
    works: list[Work] = []
    async with asyncio.timeout(10):
        while len(works) < len(names):
            works += await scene.mailbox.take(len(names))
    scene.mailbox.fingerprints["to"] = "fingerprint"
    return [work for work in works if isinstance(work, Envelope)]


async def test_what_comes_alone_leaves_at_once(scene: Scene, ledger: LedgerClient) -> None:
    """From the door: published in all respects, and nobody is woken to do it."""
    await scene.mailbox.open(opening("a"))
    assert (scene.sent, scene.ready, scene.unclaimed) == (["m-a"], [], {"m-a"})
    assert (scene.carrier.told, scene.carrier.woken) == ([("to", "m-a")], 0)
    assert ledger.publishable(9, 9, {}) == []
    ((claimed, dispatch),) = ledger.claim("w/1", "m-a")
    assert (claimed, dispatch.envelope) == ("m-a", envelope("m-a", "a"))
    assert scene.unclaimed == set()


async def test_what_a_hop_sends_leaves_with_it(scene: Scene) -> None:
    """If it is one message; several are left to be published together."""
    one, many = await taken(scene, "ab")
    await scene.mailbox.settle(Settlement(one, [], [envelope("m-1", "a")], [], []))
    assert (scene.sent, scene.ready, scene.carrier.woken) == (["m-1"], [], 0)
    sends = [envelope("m-2", "b"), envelope("m-3", "b")]
    await scene.mailbox.settle(Settlement(many, [], sends, [], []))
    assert (scene.sent, scene.ready, scene.carrier.woken) == (["m-1"], ["m-2", "m-3"], 1)


async def test_a_hop_that_scatters_leaves_all_to_the_publisher(scene: Scene) -> None:
    """Its own message among the members'."""
    (work,) = await taken(scene, "c")
    scatter = Scatter(envelope("g"), [envelope(f"g-{n}", scope=f"g.{n}") for n in range(2)])
    await scene.mailbox.settle(Settlement(work, [], [envelope("m-1")], [scatter], []))
    assert scene.sent == []
    assert scene.ready == ["m-1", *(each.id for each in scatter.members)]


async def test_of_what_comes_in_one_turn_the_first_leaves(scene: Scene) -> None:
    """Nobody knew that it was not alone."""
    await asyncio.gather(*(scene.mailbox.open(opening(name)) for name in "abc"))
    assert (scene.sent, scene.ready) == (["m-a"], ["m-b", "m-c"])
    assert scene.carrier.told == [("to", "m-a")]
    assert scene.carrier.woken == 2


async def test_nothing_overtakes_what_waits(scene: Scene, ledger: LedgerClient) -> None:
    """What came first is published first."""
    scene.carrier.is_open = False
    await scene.mailbox.open(opening("a"))
    scene.carrier.is_open = True
    await scene.mailbox.open(opening("b"))
    assert (scene.sent, scene.ready, scene.carrier.woken) == ([], ["m-a", "m-b"], 2)
    assert [batch.ids for batch in ledger.publishable(9, 9, {})] == ["m-a", "m-b"]


@pytest.mark.parametrize(("processes", "leaves"), [(1, False), (2, True)])
async def test_no_more_leave_than_processes_live(
    scene: Scene,
    ledger: LedgerClient,
    processes: int,
    leaves: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Unclaimed at a time: how far ahead to publish is the publisher's to say."""
    ledger.beat("w", {"p": processes})
    await scene.mailbox.open(opening("a"))
    await scene.mailbox.open(opening("b"))
    assert scene.unclaimed == ({"m-a", "m-b"} if leaves else {"m-a"})
    assert scene.ready == ([] if leaves else ["m-b"])
    ledger.claim("w/1", "m-a")
    await scene.mailbox.open(opening("c"))
    assert ("m-c" in scene.sent) is leaves


async def test_what_is_known_does_not_leave_again(scene: Scene) -> None:
    """A message id that was sent before sends nothing."""
    await scene.mailbox.open(opening("a", message_id="id"))
    again = Opening([envelope("m-x", "x", scope="s-a")], [slot("x")], "id")
    assert (await scene.mailbox.open(again)).is_duplicate
    assert (scene.sent, scene.ready) == (["m-a"], [])


async def test_a_queue_that_refuses_it_is_the_publishers_to_meet(
    scene: Scene, redis_client: redis.Redis
) -> None:
    """The message has come in all the same."""
    redis_client.set(scene.carrier.queue, "no list")
    assert (await scene.mailbox.open(opening("a"))).is_new
    assert (scene.ready, scene.unclaimed) == (["m-a"], set())
    assert (scene.carrier.told, scene.carrier.woken) == ([], 1)


async def test_one_that_is_lost_is_published_again(scene: Scene, ledger: LedgerClient) -> None:
    """As whatever was published, and never claimed."""
    await scene.mailbox.open(opening("a"))
    assert ledger.publish_again() == 1
    assert [batch.ids for batch in ledger.publishable(9, 9, {})] == ["m-a"]
