"""A handler that outlives the broker's patience runs once all the same."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from backends.redis.archive import Archive
from pipeline import StreamPump
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of
from tests.faults.fault_handlers import Nap, Woken
from tests.fleet import app_as, running_worker, write_organism
from tests.servers import RedisServer

HANDLERS = "tests.faults.fault_handlers"
VISIBILITY_S = 2


@pytest.fixture
def organism_file(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Path]:
    prefix = f"test-{uuid4().hex}:"
    listener = {
        "name": "sleep",
        "handler": f"{HANDLERS}.sleep",
        "payload_class": f"{HANDLERS}.Nap",
        "cpu_bound": True,
    }
    yield write_organism(
        tmp_path / "organism.yaml",
        redis_server.url,
        prefix,
        [listener],
        celery={"visibility_timeout_s": VISIBILITY_S},
    )
    for pattern in (f"{prefix}*", f"celery.{prefix}*"):
        for key in redis_client.scan_iter(match=pattern, count=1000):
            redis_client.delete(key)


def restore(channel: object, log: Path) -> bool:
    """What kombu's own sweep does every minute or two; true once the handler has begun."""
    channel.qos.restore_visible(interval=1)  # type: ignore[attr-defined]
    return log.exists()


async def test_a_handler_of_three_visibility_timeouts_runs_once(
    organism_file: Path, tmp_path: Path
) -> None:
    """The broker does hand the message out again; the claim makes that harmless."""
    organism = load_organism(organism_file)
    log = tmp_path / "runs"
    archive = Archive(organism.backend, codec_of(organism))
    app = app_as("worker", organism_file)
    with running_worker(organism_file), app.connection_for_write() as connection:
        channel = connection.default_channel
        async with StreamPump(organism) as pump:
            nap = Nap(3 * VISIBILITY_S, str(log))
            asked = time.monotonic()
            request = asyncio.create_task(pump.request("sleep", nap, timeout_s=60))
            while not request.done():
                await asyncio.to_thread(restore, channel, log)
                await asyncio.sleep(0.2)
            assert await request == Woken(1)
            assert time.monotonic() - asked >= 3 * VISIBILITY_S
    counts = archive.counts()
    archive.close()
    assert counts["copies"] >= 1
    assert counts["completed"] == 1
    assert "late_outcomes" not in counts
