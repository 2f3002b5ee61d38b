"""What a pump tells of its own conversations, where two of them worked on one message."""

from typing import Any

import pytest

from backends import BackendConfig
from backends.mailbox import Answer, Envelope, Opening, Settlement
from backends.protocol import SlotRecord
from tests.races.scene import StillPump, first_of, signing
from tests.servers import RedisServer


async def test_an_answer_that_did_not_enter_is_told_to_nobody(
    redis_server: RedisServer, redis_client: Any, redis_prefix: str
) -> None:
    """One of them has settled it without an answer; the other worked on a copy, and has one."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    asker, other = StillPump(config, 0.0), StillPump(config, 0.0)
    first = first_of("c")
    data = signing(redis_prefix).seal_slot(first.payload, "c", "external", "to")
    inbox = f"{redis_prefix}s:inbox"
    for pump in (asker, other):
        await pump.start()
    await asker.open(Opening([first], [SlotRecord("c", first.chain, data)]))
    (taken,) = await other.take(1)
    ((_, fields),) = redis_client.xrange(inbox)
    assert isinstance(taken, Envelope)
    await other.settle(Settlement(taken, [], [], [], [], None, None))
    redis_client.xadd(inbox, fields)
    (copy,) = await asker.take(1)
    assert isinstance(copy, Envelope)
    await asker.settle(Settlement(copy, [], [], [], [Answer(False, b"late")], None, None))
    await asker.settle_down()
    assert asker.closed == {"c"}
    assert asker.answers == {}
    for pump in (asker, other):
        await pump.stop()


@pytest.mark.parametrize("keep_closed", [0, 1000])
async def test_nor_is_it_where_the_one_that_entered_is_forgotten(
    redis_server: RedisServer, redis_client: Any, redis_prefix: str, keep_closed: int
) -> None:
    """One of them was taken for dead, and so heard nothing of the other's answer."""
    config = BackendConfig(
        "redis", redis_server.url, redis_prefix, redis_ttl=60, keep_closed=keep_closed
    )
    asker, other = StillPump(config, 0.0), StillPump(config, 0.0)
    first = first_of("c")
    data = signing(redis_prefix).seal_slot(first.payload, "c", "external", "to")
    for pump in (asker, other):
        await pump.start()
    await asker.open(Opening([first], [SlotRecord("c", first.chain, data)]))
    (taken,) = await asker.take(1)
    redis_client.hset(f"{redis_prefix}l:service", "since", 0)
    redis_client.zadd(f"{redis_prefix}i:alive", {f"p:{asker.pump}": 1})
    await other.beat()
    (again,) = await other.take(1)
    entered, late = Answer(False, b"entered"), Answer(False, b"late")
    for pump, work, answer in ((other, again, entered), (asker, taken, late)):
        assert isinstance(work, Envelope)
        await pump.settle(Settlement(work, [], [], [], [answer], None, None))
    await asker.settle_down()
    assert asker.closed == {"c"}
    assert asker.answers == ({"c": entered} if keep_closed else {})
    for pump in (asker, other):
        await pump.stop()


async def test_a_conversation_that_somebody_broke_keeps_no_others_from_being_told(
    redis_server: RedisServer, redis_client: Any, redis_prefix: str
) -> None:
    """A pump asks of all it began at once."""
    config = BackendConfig("redis", redis_server.url, redis_prefix, redis_ttl=60)
    asker, other = StillPump(config, 0.0), StillPump(config, 0.0)
    for pump in (asker, other):
        await pump.start()
    for name in ("broken", "whole"):
        first = first_of(name)
        data = signing(redis_prefix).seal_slot(first.payload, name, "external", "to")
        await asker.open(Opening([first], [SlotRecord(name, first.chain, data)]))
    redis_client.delete(f"{redis_prefix}s:{asker.pump}")
    answer = Answer(False, b"told")
    for taken in await other.take(2):
        assert isinstance(taken, Envelope)
        if taken.scope == "whole":
            await other.settle(Settlement(taken, [], [], [], [answer], None, None))
    redis_client.set(f"{redis_prefix}v:broken", "no conversation", ex=60)
    asker._news.ask()
    await asker.settle_down()
    assert asker.answers == {"whole": answer}
    assert asker.closed == {"whole"}
    for pump in (asker, other):
        await pump.stop()
