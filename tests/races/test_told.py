"""What a pump tells of its own conversations, where two of them worked on one message."""

from typing import Any

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
