"""The mailbox of many machines fulfils the contract; and what it alone promises."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import redis

from backends import BackendConfig, create_backend
from backends.codec import Codec
from backends.errors import BackendError
from backends.mailbox import Effects, Gathering, Mailbox, Opened, Opening, Settlement
from backends.protocol import Backend
from backends.redis.mailbox import RedisMailbox
from backends.redis.records import Dispatch, Records
from backends.terms import Terms
from tests.conformance.mailbox_contract import (
    MAX_SLOTS,
    YES,
    MailboxContract,
    OpenMailbox,
    envelope,
    opening,
    slot,
)
from tests.servers import RedisServer
from tests.waiting import eventually

TERMS = Terms(lease_s=1.0)


class RedisMailboxContract(MailboxContract):
    redis_ttl = 60.0
    signing_keys: tuple[str, ...] = ()

    @pytest.fixture
    def config(self, redis_server: RedisServer, redis_prefix: str) -> BackendConfig:
        return BackendConfig(
            backend_type="redis",
            redis_url=redis_server.pump_url,
            redis_prefix=redis_prefix,
            redis_ttl=self.redis_ttl,
            max_slots_per_thread=MAX_SLOTS,
        )

    @pytest.fixture
    def backend(self, config: BackendConfig) -> Iterator[Backend]:
        backend = create_backend(config)
        yield backend
        backend.close()

    @pytest.fixture
    async def open_mailbox(self, config: BackendConfig) -> AsyncIterator[OpenMailbox]:
        async with AsyncExitStack() as stack:

            async def open_mailbox(*, keep_closed: int = 100) -> Mailbox:
                codec = Codec(keys=self.signing_keys, realm=config.redis_prefix)
                own = replace(config, keep_closed=keep_closed)
                mailbox = RedisMailbox(own, codec, TERMS)
                await mailbox.start()
                stack.push_async_callback(mailbox.stop)
                return mailbox

            yield open_mailbox

    async def go_on(self, mailbox: Mailbox, messages: int) -> None:
        """So many messages of one conversation, each sent when the last one's is answered."""
        for number in range(messages):
            message = envelope(f"m-{number}", scope=f"s-{number}")
            await mailbox.open(Opening([message], []))
            await self.end(mailbox, YES)


class TestRedisMailbox(RedisMailboxContract):
    async def test_streams_are_trimmed_as_hops_settle(
        self, mailbox: Mailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """What is done is not kept in the stream."""
        for number in range(20):
            await mailbox.open(opening(f"c{number}"))
        assert redis_client.xlen(f"{redis_prefix}s:inbox") == 20
        for left in reversed(range(20)):
            await self.end(mailbox)
            assert redis_client.xlen(f"{redis_prefix}s:inbox") == left

    async def test_a_hop_settled_elsewhere_is_not_settled_again(
        self, open_mailbox: OpenMailbox, backend: Backend
    ) -> None:
        """One that was thought dead comes too late: nothing of its hop happens."""
        slow, quick = await open_mailbox(), await open_mailbox()
        await slow.open(opening())
        work = await self.take_envelope(slow)
        assert isinstance(slow, RedisMailbox)
        # All that its pump does not do any more.
        assert slow._caretaker is not None
        await asyncio.to_thread(slow._caretaker.stop)
        assert await self.take_envelope(quick) == work
        effects = await quick.settle(Settlement(work, [], [], [], [YES]))
        assert effects.closed_conversations == ["c"]
        late = Settlement(work, [], [envelope("m-late")], [], [YES])
        assert await slow.settle(late) == Effects([], [], [])
        await quick.open(opening("b"))
        assert await self.take_envelope(quick) == envelope("m-b", "b")
        assert backend.buffer_get_thread("c") == [b"slot"]

    async def test_news_reach_the_pump_that_waits(self, open_mailbox: OpenMailbox) -> None:
        """Whoever settles the hop, the answer comes to whoever sent the message."""
        asker, worker = await open_mailbox(), await open_mailbox()
        assert isinstance(asker, RedisMailbox)
        news: list[Effects] = []
        asker.on_news = news.append
        await asker.open(opening())
        await self.end(worker, YES)

        def is_told() -> bool:
            answered = [each for effects in news for each in effects.answered]
            closed = [each for effects in news for each in effects.closed_scopes]
            return answered == [("s-c", YES)] and closed == ["s-c"]

        async with asyncio.timeout(10):
            while not is_told():
                await asyncio.sleep(0.01)
        assert asker.open_conversations == 0

    async def test_news_that_are_none_of_ours_keep_back_no_others(
        self, open_mailbox: OpenMailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """A pump goes on listening, whatever somebody else wrote into its stream."""
        asker, worker = await open_mailbox(), await open_mailbox()
        assert isinstance(asker, RedisMailbox)
        answered = asyncio.Event()
        asker.on_news = lambda effects: answered.set() if effects.answered else None
        forged: list[dict[str, str | bytes]] = [
            {"z": "?"},
            {"k": "answered", "s": "s-c", "a": "forged"},
            {"k": "closed", "s": b"\xff", "a": ""},
        ]
        for fields in forged:
            redis_client.xadd(f"{redis_prefix}s:{asker.pump}", fields)  # type: ignore[arg-type]
        await asker.open(opening())
        await self.end(worker, YES)
        async with asyncio.timeout(10):
            await answered.wait()

    async def test_what_a_stopped_pump_held_is_taken_by_another(
        self, open_mailbox: OpenMailbox
    ) -> None:
        """At once, no lease has to end."""
        first, second = await open_mailbox(), await open_mailbox()
        for name in "ab":
            await first.open(opening(name))
        taken = await self.take(first, 2)
        assert await first.stop() == 0
        assert await self.take(second, 2) == taken

    async def test_a_dispatch_takes_the_messages_place(
        self, mailbox: Mailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """It is recorded in the step that takes the entry out, and counts as waiting."""
        assert isinstance(mailbox, RedisMailbox)
        await mailbox.open(opening())
        work = await self.take_envelope(mailbox)
        await mailbox.dispatch(work, "fingerprint")
        assert redis_client.xlen(f"{redis_prefix}s:inbox") == 0
        assert redis_client.hkeys(f"{redis_prefix}l:dispatches") == [work.id.encode()]
        assert mailbox.open_conversations == 1

    async def test_nonsense_in_redis_stops_no_pump(
        self,
        mailbox: Mailbox,
        config: BackendConfig,
        redis_client: redis.Redis,
        redis_prefix: str,
    ) -> None:
        """A history without end, a name that is no text: set aside, and it goes on reading.

        A scatter without its count is none that is finished, and is dropped.
        """
        inbox = f"{redis_prefix}s:inbox"
        records = Records(Codec(keys=self.signing_keys, realm=config.redis_prefix))
        record = records.dispatch("d", Dispatch(envelope("m"), "f"))
        history = msgspec.msgpack.encode([("w/1", "9" * 400)])
        redis_client.hset(f"{redis_prefix}v:x", "gx", "no count")
        forged: list[dict[str, str | bytes]] = [
            {"i": "d", "x": record, "y": "killed", "h": history},
            {"g": "x", "c": "x"},
            {"g": b"\xff", "c": "x"},
        ]
        for fields in forged:
            redis_client.xadd(inbox, fields)  # type: ignore[arg-type]
        await mailbox.open(opening())
        assert await self.take_envelope(mailbox) == envelope("m-c")
        assert redis_client.llen(f"{redis_prefix}l:quarantine") == len(forged) - 1

    async def test_what_is_none_of_ours_is_set_aside(
        self, mailbox: Mailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """A stream entry somebody else wrote hurts nobody, and is kept to be looked at."""
        inbox = f"{redis_prefix}s:inbox"
        for fields in ({"m": b"forged"}, {"i": "x", "o": b"\xff"}, {"z": "?"}, {"i": "\xff"}):
            redis_client.xadd(inbox, fields)  # type: ignore[arg-type]
        await mailbox.open(opening())
        assert await self.take_envelope(mailbox) == envelope("m-c")
        assert redis_client.llen(f"{redis_prefix}l:quarantine") == 4
        assert redis_client.xlen(inbox) == 1

    async def test_one_that_fails_fails_alone(
        self, mailbox: Mailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """What travels in one turn with a command that Redis refuses happens all the same."""
        redis_client.set(f"{redis_prefix}v:b", "damaged")
        opened = await asyncio.gather(
            *(mailbox.open(opening(name)) for name in "abc"), return_exceptions=True
        )
        assert isinstance(opened[1], BackendError)
        assert [each for each in opened if isinstance(each, Opened)] == [
            Opened("a", "s-a"),
            Opened("c", "s-c"),
        ]
        taken = await self.take(mailbox, 2)
        assert taken == [envelope("m-a", "a"), envelope("m-c", "c")]

    async def test_what_workers_run_goes_to_them_as_it_is_sent(
        self, mailbox: Mailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """From the door, from a hop and from a scatter: recorded, and in no stream."""
        assert isinstance(mailbox, RedisMailbox)
        await mailbox.open(opening("a"))
        work = await self.take_envelope(mailbox)
        woken: list[str] = []
        mailbox.on_publishable = lambda: woken.append("!")
        mailbox.fingerprints["to"] = "fingerprint"
        await mailbox.open(opening("b"))
        scatter = self.scatter(members=2)
        await mailbox.settle(Settlement(work, [], [envelope("m-1", "a")], [scatter], []))
        assert woken
        ready = redis_client.lrange(f"{redis_prefix}l:ready", 0, -1)
        assert ready == [b"m-b", b"m-1", *(each.id.encode() for each in scatter.members)]
        assert sorted(redis_client.hkeys(f"{redis_prefix}l:dispatches")) == sorted(ready)
        assert redis_client.xlen(f"{redis_prefix}s:inbox") == 0
        assert mailbox.waiting == 4

    async def test_a_conversation_that_goes_on_visits_no_more_each_time(
        self, mailbox: Mailbox, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """What it has done is set aside, and found there by who asks again."""
        first = opening(message_id="id")
        await mailbox.open(first)
        await self.end(mailbox, YES)
        await self.go_on(mailbox, 300)
        assert redis_client.hlen(f"{redis_prefix}v:c") < 200
        again = await mailbox.open(first)
        assert (again.is_duplicate, again.is_closed, again.answer) == (True, True, YES)

    async def test_threads_of_conversations_are_listed_with_all_others(
        self, mailbox: Mailbox, backend: Backend
    ) -> None:
        """Though they are in no index; and their chain leads to them, until another has it."""
        await mailbox.open(opening("open"))
        await mailbox.open(opening("ended"))
        await self.take(mailbox, 1)
        await self.end(mailbox, YES)
        backend.buffer_append("raw", b"1")
        assert sorted(backend.buffer_list_threads()) == ["ended", "open", "raw"]
        chain = "@open.external.to"
        assert backend.registry_list_all() == {"open": chain, "ended": "@ended.external.to"}
        assert (backend.info()["buffer_threads"], backend.info()["registry_entries"]) == (3, 2)
        assert backend.registry_get_uuid(chain) == "open"
        backend.registry_set(chain, "other")
        assert backend.registry_get_uuid(chain) == "other"
        assert backend.registry_get_chain("open") is None
        assert backend.registry_delete("other")
        assert backend.registry_get_uuid(chain) is None
        backend.registry_clear()
        backend.buffer_clear()
        assert (backend.buffer_list_threads(), backend.registry_list_all()) == ([], {})

    async def test_a_thread_that_was_there_before_becomes_a_conversations(
        self, mailbox: Mailbox, backend: Backend, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """With all it remembers, and from then on with the conversation's life."""
        backend.buffer_append("c", b"before")
        backend.registry_set("some.chain", "c")
        await mailbox.open(opening())
        assert backend.buffer_get_thread("c") == [b"before", b"slot"]
        assert backend.registry_get_uuid("some.chain") is None
        assert backend.registry_list_all() == {"c": "@c.external.to"}
        assert redis_client.pttl(f"{redis_prefix}t:c") == -1
        assert redis_client.exists(f"{redis_prefix}i:threads", f"{redis_prefix}i:links") == 0

    async def test_what_a_handler_writes_itself_shortens_no_life(
        self, mailbox: Mailbox, backend: Backend, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """An open conversation goes on for ever, an ended one for its time from that write."""
        await mailbox.open(opening())
        backend.buffer_append("c", b"more")
        backend.registry_set("another.chain", "c")
        backend.registry_set("@c.external.to", "c")
        keys = [f"{redis_prefix}t:c", f"{redis_prefix}v:c"]
        assert [redis_client.pttl(key) for key in keys] == [-1, -1]
        await self.end(mailbox, YES)
        ttl_ms = int(self.redis_ttl * 1000)
        for key in keys:
            redis_client.pexpire(key, ttl_ms // 2)
        backend.buffer_append("c", b"most")
        assert all(redis_client.pttl(key) > ttl_ms // 2 for key in keys)
        assert backend.buffer_get_thread("c") == [b"slot", b"more", b"most"]


class TestSignedMailbox(RedisMailboxContract):
    signing_keys = ("a key for tests",)


class TestExpiry(RedisMailboxContract):
    """The time to live begins when a conversation ends. The suite runs within it as well."""

    redis_ttl = 0.5

    async def test_what_is_open_does_not_expire(
        self, mailbox: Mailbox, backend: Backend, redis_client: redis.Redis, redis_prefix: str
    ) -> None:
        """Waiting, running or deferred; and nothing but the pump's own leases has a term."""
        await mailbox.open(opening("waits", message_id="id"))
        await mailbox.open(opening("runs"))
        work = await self.take_envelope(mailbox)
        await mailbox.defer(work, 2 * self.redis_ttl + 0.5)
        witness = f"{redis_prefix}z:witness"
        redis_client.set(witness, "", px=int(2000 * self.redis_ttl))
        assert await asyncio.to_thread(eventually, lambda: not redis_client.exists(witness))
        assert sorted(backend.buffer_list_threads()) == ["runs", "waits"]
        for key in redis_client.scan_iter(match=f"{redis_prefix}*"):
            name = key.decode().removeprefix(redis_prefix)
            if name[:2] in ("v:", "t:", "c:", "n:"):
                assert redis_client.pttl(key) == -1, name

    async def test_no_key_is_left(
        self,
        open_mailbox: OpenMailbox,
        backend: Backend,
        redis_client: redis.Redis,
        redis_prefix: str,
    ) -> None:
        """All has ended, the pump has left and the time to live is over.

        But for since when somebody has reached Redis, which is forgotten after 60 leases.
        """
        mailbox = await open_mailbox()
        await mailbox.open(opening(message_id="id"))
        work = await self.take_envelope(mailbox)
        scatter = self.scatter(members=2)
        await mailbox.settle(Settlement(work, [], [], [scatter], []))
        for _ in range(2):
            await self.end(mailbox, YES)
        (gathering,) = await self.take(mailbox)
        assert isinstance(gathering, Gathering)
        await mailbox.settle(Settlement(gathering, [], [], [], [YES]))
        await mailbox.open(opening("b"))
        deferred = await self.take_envelope(mailbox)
        await mailbox.defer(deferred, 0.01)
        await self.end(mailbox)
        await mailbox.open(Opening([envelope("again", scope="again")], [slot()]))
        await self.end(mailbox)
        await self.go_on(mailbox, 150)
        assert redis_client.exists(f"{redis_prefix}e:c")
        await mailbox.stop()

        service = f"{redis_prefix}l:service"
        assert 0 < redis_client.pttl(service) <= TERMS.lease_ms * 60
        redis_client.delete(service)

        def left() -> list[Any]:
            return list(redis_client.scan_iter(match=f"{redis_prefix}*", count=1000))

        assert await asyncio.to_thread(eventually, lambda: not left()), left()
