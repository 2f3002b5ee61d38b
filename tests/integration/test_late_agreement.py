"""A worker that could not ask at its start whose keys are in use asks before it takes work."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from pipeline import StreamPump
from tests.fleet import Worker, is_alive, running_worker, start_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work
from tests.proxy import Proxy, running_proxy
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

REFUSAL = "that sign otherwise: give all the same serialization.signing_key"
PATIENT = {"lease_s": 2.0, "no_worker_s": 60.0}
OTHERWISE: tuple[list[str], ...] = ([], ["another key"])


@contextmanager
def waiting_worker(organism: Path, proxy: Proxy) -> Iterator[Worker]:
    """One whose Redis is away as it starts; its pool is up."""
    proxy.lead_to(free_port())
    worker = start_worker(organism, "-c", "1")
    children: list[int] = []
    try:
        assert eventually(lambda: "Cannot connect to" in worker.log, timeout_s=60), worker.log
        children = worker.children()
        assert worker.process.poll() is None
        yield worker
    finally:
        worker.kill()
        assert eventually(lambda: not any(map(is_alive, children)))


async def ends(worker: Worker) -> int:
    return await asyncio.to_thread(worker.process.wait, 60)


@pytest.mark.parametrize("keys", OTHERWISE, ids=["unsigned", "another"])
async def test_one_that_lacks_the_key_ends_and_takes_nothing(
    write: WriteOrganism,
    redis_server: RedisServer,
    redis_client: redis.Redis,
    redis_prefix: str,
    keys: list[str],
) -> None:
    """What waits is still there for a worker that has the key."""
    ours = write(celery=PATIENT)
    with running_proxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        lacks = write(name="lacks", url=url, celery=PATIENT, serialization={"signing_key": keys})
        with waiting_worker(lacks, proxy) as misfit:
            async with StreamPump.from_file(ours) as pump, asyncio.timeout(90):
                call = asyncio.create_task(pump.request("work", Work(1)))
                ready = f"celery.{redis_prefix}cpu"
                assert await asyncio.to_thread(
                    eventually, lambda: any(redis_client.scan_iter(f"{ready}*"))
                )
                proxy.lead_to(redis_server.port)
                assert await ends(misfit) == 1, misfit.log
                assert misfit.log.count(REFUSAL) == 1, misfit.log
                assert "Traceback" not in misfit.log
                assert "another key" not in misfit.log
                assert not call.done()
                with running_worker(ours, "-c", "1") as fit:
                    answer = await call
                    assert (answer.number, answer.attempt) == (1, 1)
                    assert answer.pid in fit.children()
    counts = redis_client.hgetall(f"{redis_prefix}l:counts")
    assert not {b"refused", b"dead_letters"} & counts.keys(), counts
    assert not redis_client.exists(f"{redis_prefix}l:quarantine")


async def test_one_that_has_the_key_takes_work_once_it_can_ask(
    write: WriteOrganism, redis_server: RedisServer
) -> None:
    """As if Redis had been there all along."""
    ours = write(celery=PATIENT)
    with running_proxy(redis_server.port) as proxy:
        late = write(name="late", url=f"redis://127.0.0.1:{proxy.port}/0", celery=PATIENT)
        with waiting_worker(late, proxy) as worker:
            async with StreamPump.from_file(ours) as pump, asyncio.timeout(60):
                call = asyncio.create_task(pump.request("work", Work(1)))
                proxy.lead_to(redis_server.port)
                assert (await call).pid in worker.children()


def lives(client: redis.Redis, prefix: str) -> int:
    """Pumps and workers whose lease has not run out."""
    return int(client.zcount(f"{prefix}i:alive", int(time.time() * 1000), "+inf"))


def is_asked_who_lives(client: redis.Redis) -> bool:
    """Over a connection other than this one."""
    return any(each["cmd"] == "zrangebyscore" for each in client.client_list())


async def test_others_may_have_come_while_redis_was_away(
    write: WriteOrganism, redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """A worker that was up first asks again: its lease ran out, so a pump could start."""
    ours = write(celery=PATIENT)
    with running_proxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        lacks = write(name="lacks", url=url, celery=PATIENT, serialization={"signing_key": []})
        with running_worker(lacks, "-c", "1") as misfit:
            assert eventually(lambda: lives(redis_client, redis_prefix) == 1)
            proxy.lead_to(free_port())
            proxy.cut()
            assert eventually(lambda: lives(redis_client, redis_prefix) == 0)
            async with StreamPump.from_file(ours) as pump, asyncio.timeout(90):
                call = asyncio.create_task(pump.request("work", Work(1)))
                proxy.lead_to(redis_server.port)
                assert await ends(misfit) == 1, misfit.log
                assert misfit.log.count(REFUSAL) == 1, misfit.log
                assert not call.done()
                with running_worker(ours, "-c", "1") as fit:
                    assert (await call).pid in fit.children()
    counts = redis_client.hgetall(f"{redis_prefix}l:counts")
    assert not {b"refused", b"dead_letters"} & counts.keys(), counts


async def test_those_that_come_back_after_the_worker_count(
    write: WriteOrganism, redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """A pump's lease has run out while Redis was away, and the worker reaches Redis first."""
    terms = {"lease_s": 8.0, "no_worker_s": 60.0}
    with (
        running_proxy(redis_server.port) as pumps_way,
        running_proxy(redis_server.port) as workers_way,
    ):
        ours = write(url=f"redis://127.0.0.1:{pumps_way.port}/0", celery=terms)
        lacks = write(
            name="lacks",
            url=f"redis://127.0.0.1:{workers_way.port}/0",
            celery=terms,
            serialization={"signing_key": []},
        )
        with waiting_worker(lacks, workers_way) as misfit:
            async with StreamPump.from_file(ours), asyncio.timeout(90):
                pumps_way.lead_to(free_port())
                pumps_way.cut()
                gone = await asyncio.to_thread(
                    eventually, lambda: lives(redis_client, redis_prefix) == 0, timeout_s=20
                )
                assert gone
                workers_way.lead_to(redis_server.port)
                asks = await asyncio.to_thread(
                    eventually, lambda: is_asked_who_lives(redis_client), timeout_s=40
                )
                assert asks, misfit.log
                pumps_way.lead_to(redis_server.port)
                assert await ends(misfit) == 1, misfit.log
                assert misfit.log.count(REFUSAL) == 1, misfit.log


async def test_who_came_meanwhile_has_gone_again(
    write: WriteOrganism, redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """No worker is one of those whose word they can't read: they go on, and others may come."""
    lacks = write(name="lacks", celery=PATIENT, serialization={"signing_key": []})
    ours = write(celery=PATIENT)
    with running_proxy(redis_server.port) as proxy:
        late = write(name="late", url=f"redis://127.0.0.1:{proxy.port}/0", celery=PATIENT)
        with running_worker(late, "-c", "1") as one, running_worker(late, "-c", "1") as other:
            assert eventually(lambda: lives(redis_client, redis_prefix) == 2)
            proxy.lead_to(free_port())
            proxy.cut()
            assert eventually(lambda: lives(redis_client, redis_prefix) == 0)
            async with StreamPump.from_file(lacks):
                pass
            proxy.lead_to(redis_server.port)
            comes = await asyncio.to_thread(
                eventually, lambda: lives(redis_client, redis_prefix) == 2
            )
            assert comes
            async with asyncio.timeout(60):
                assert await asyncio.to_thread(
                    eventually,
                    lambda: all(each.log.count("Connected to") == 2 for each in (one, other)),
                    timeout_s=50,
                ), one.log + other.log
                async with StreamPump.from_file(ours) as pump:
                    answer = await pump.request("work", Work(1))
                    assert answer.pid in one.children() + other.children()
