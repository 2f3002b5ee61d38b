"""Single calls on workers while answers of Redis are lost: each outcome comes, and once."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from backends.codec import Codec
from pipeline import HandlerMetadata
from pipeline.organism_file import load_organism
from pipeline.worker import Call, Completed
from tasks.executor import CeleryExecutor
from tests.conformance import executor_handlers as handlers
from tests.conformance.executor_handlers import Result, Task
from tests.fleet import running_worker, write_organism
from tests.proxy import running_proxy
from tests.servers import RedisServer
from tests.waiting import eventually

CALLS = 300
MODULE = "tests.conformance.executor_handlers"


@pytest.fixture
def organism_file(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Path]:
    prefix = f"test-{uuid4().hex}:"
    listener = {
        "name": "double",
        "handler": f"{MODULE}.double",
        "payload_class": f"{MODULE}.Task",
        "cpu_bound": True,
    }
    yield write_organism(tmp_path / "organism.yaml", redis_server.url, prefix, [listener])
    for pattern in (f"{prefix}*", f"celery.{prefix}*"):
        for key in redis_client.scan_iter(match=pattern, count=1000):
            redis_client.delete(key)


async def test_no_outcome_is_lost_with_the_answer_that_brought_it(
    organism_file: Path, redis_server: RedisServer
) -> None:
    """Whether Redis was asked for outcomes, or told to forget them."""
    organism = load_organism(organism_file)
    codec = Codec(keys=organism.serialization.signing_key, realm=organism.backend.redis_prefix)
    codec.types.declare_module(handlers)
    chance = random.Random(7)  # noqa: S311 - the same breaks every time
    with running_worker(organism_file), running_proxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        executor = CeleryExecutor(
            replace(organism, backend=replace(organism.backend, redis_url=url)), codec
        )
        await executor.start()

        async def double(number: int) -> None:
            call = Call(
                "double",
                handlers.double,
                codec.encode(Task(number)),
                HandlerMetadata(uuid4().hex, "test"),
            )
            outcome = await executor.run(call)
            assert isinstance(outcome, Completed)
            ((payload,),) = (reply.payloads for reply in outcome.replies)
            assert codec.decode(payload) == Result(2 * number)

        async with asyncio.timeout(60):
            for command in (b"XREAD", b"XDEL"):
                proxy.lose_answer_to(command)
                await double(1)
                assert await asyncio.to_thread(eventually, lambda: proxy.has_lost)
                await double(2)
            calls = asyncio.gather(*map(double, range(CALLS)))
            while not calls.done():
                proxy.cut_answers(chance.uniform(0.0, 0.02))
                await asyncio.wait([calls], timeout=chance.uniform(0.05, 0.3))
            await calls
        await executor.stop()
