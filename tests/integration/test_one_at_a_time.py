"""Requests one at a time reach their workers without a publisher's turn, and are as safe."""

import asyncio
import base64
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import redis

from pipeline import StreamPump
from tests.fleet import Worker, running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work
from tests.servers import running_redis
from tests.waiting import eventually

#: Requests of a test.
MANY = 20
#: Of so many, those that the publisher may take part in all the same: a machine that is busy for
#: long has leases lapse and connections asked after, and then a message is not alone.
FEW = MANY // 4
#: Where nothing is to be published again, a busy machine must not let a lease lapse.
PATIENT = {"lease_s": 30.0}


class Monitor:
    """Hears what monitors are told of one organism."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._told: Counter[str] = Counter()
        self._subscription = client.pubsub(ignore_subscribe_messages=True)
        self._subscription.psubscribe(f"celery.{prefix}/0.celeryev/*")

    def count(self, kind: str) -> int:
        """How often it has heard of such an event."""
        while message := self._subscription.get_message():
            body = json.loads(base64.b64decode(json.loads(message["data"])["body"]))
            self._told.update(each["type"] for each in (body if isinstance(body, list) else [body]))
        return self._told[kind]

    def has_heard(self, kind: str, times: int) -> bool:
        """So often at least."""
        return self.count(kind) >= times

    def close(self) -> None:
        """Hear no more."""
        self._subscription.close()


@pytest.fixture
def monitor(redis_client: redis.Redis, redis_prefix: str) -> Iterator[Monitor]:
    monitor = Monitor(redis_client, redis_prefix)
    yield monitor
    monitor.close()


class Ledger:
    """What Redis holds of one organism's dispatches, and has done."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def publishers_turns(self) -> int:
        """How often anybody has taken what is to be published."""
        calls = self._client.info("commandstats").get("cmdstat_lpop", {"calls": 0})
        return int(calls["calls"])

    def counts(self) -> dict[str, int]:
        """How often has happened what seldom does not."""
        found = self._client.hgetall(f"{self._prefix}l:counts")
        return {name.decode(): int(times) for name, times in found.items()}

    def unclaimed(self) -> int:
        """Messages that were published, and nobody has claimed."""
        return int(self._client.zcard(f"{self._prefix}l:published"))


@pytest.fixture
def ledger(redis_client: redis.Redis, redis_prefix: str) -> Ledger:
    return Ledger(redis_client, redis_prefix)


async def ask(pump: StreamPump, numbers: range) -> None:
    """One request after the other, each answered."""
    for number in numbers:
        answer = await pump.request("work", Work(number), timeout_s=60)
        assert answer.number == number


def stand_still(worker: Worker) -> None:
    """Have it take and run nothing more."""
    for pid in (worker.pid, *worker.children()):
        os.kill(pid, signal.SIGSTOP)


async def test_after_the_first_the_publisher_is_left_out(
    write: WriteOrganism, ledger: Ledger, monitor: Monitor
) -> None:
    """And monitors hear of each run what they always hear."""
    organism = write(celery=PATIENT)
    with running_worker(organism):
        async with StreamPump.from_file(organism) as pump:
            await ask(pump, range(1))
            before = ledger.publishers_turns()
            await ask(pump, range(1, MANY))
            assert ledger.publishers_turns() - before <= FEW
            for kind in ("task-sent", "task-received", "task-started", "task-succeeded"):
                heard = partial(monitor.has_heard, kind, MANY)
                assert await asyncio.to_thread(eventually, heard), kind
                assert monitor.count(kind) == MANY, kind
    counts = ledger.counts()
    assert counts["dispatched"] == counts["completed"] == MANY
    assert not {"copies", "published_again"} & counts.keys()


async def test_two_pumps_at_once(write: WriteOrganism, ledger: Ledger) -> None:
    """Each sends as if it were alone, and settles what the other has sent; nothing is run twice."""
    organism = write(celery=PATIENT)
    with running_worker(organism):
        async with StreamPump.from_file(organism) as one, StreamPump.from_file(organism) as two:
            await asyncio.gather(ask(one, range(MANY)), ask(two, range(MANY)))
            # With nobody beside them.
            before = ledger.publishers_turns()
            await ask(one, range(MANY))
            await ask(two, range(MANY))
            assert ledger.publishers_turns() - before <= FEW
    counts = ledger.counts()
    assert counts["dispatched"] == counts["completed"] == 4 * MANY
    assert not {"copies", "published_again", "late_outcomes"} & counts.keys()


async def test_what_a_killed_worker_had_taken_is_published_again(
    write: WriteOrganism, ledger: Ledger
) -> None:
    """It never claimed it: nobody but the ledger knows that there was a message."""
    organism = write()
    with running_worker(organism) as doomed:
        async with StreamPump.from_file(organism) as pump:
            await ask(pump, range(1))
            before = ledger.publishers_turns()
            stand_still(doomed)
            asked = asyncio.create_task(pump.request("work", Work(7), timeout_s=60))
            assert await asyncio.to_thread(eventually, lambda: ledger.unclaimed() == 1)
            assert ledger.publishers_turns() == before
            children = doomed.children()
            doomed.kill()
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            with running_worker(organism):
                answer = await asked
    assert (answer.number, answer.attempt) == (7, 1)
    counts = ledger.counts()
    # Once more for each lease that the next worker takes to begin.
    assert counts["published_again"] >= 1
    assert counts["completed"] == 2


async def test_a_full_redis_lets_nothing_in(
    write: WriteOrganism, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes waits outside, and is answered once there is room."""
    with running_redis() as server, closing(server.client()) as found:
        client: Any = found
        organism = write(url=server.url)
        with running_worker(organism):
            async with StreamPump.from_file(organism) as pump:
                await ask(pump, range(1))
                client.config_set("maxmemory", 1)
                asked = asyncio.create_task(pump.request("work", Work(7), timeout_s=60))
                refusal = "OOM: its memory is full"
                assert await asyncio.to_thread(eventually, lambda: refusal in caplog.text)
                assert not client.exists(f"celery.{redis_prefix}cpu", f"{redis_prefix}l:published")
                assert Ledger(client, redis_prefix).counts()["dispatched"] == 1
                client.config_set("maxmemory", 0)
                assert (await asked).number == 7
