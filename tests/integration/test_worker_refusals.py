"""Workers refuse what they should not run, and say why; nothing waits for ever."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import HandlerError, StreamPump
from pipeline.organism_file import load_organism
from tasks.executor import CeleryExecutor
from tasks.pace import ENOUGH
from tasks.rest import LONGEST_REST_S
from tests.fleet import running_worker
from tests.integration.conftest import WriteOrganism, listener
from tests.integration.supervisors import record, supervisor_of
from tests.integration.worker_handlers import Work, runs_in
from tests.waiting import eventually

SOON = {"lease_s": 2.0, "no_worker_s": 1.0}


async def test_what_one_worker_lacks_another_runs(write: WriteOrganism) -> None:
    """Unknown there, or declared differently: it is released, and reaches one that fits."""
    ours = write(listener("work"), listener("extra"))
    lacks = write(listener("work", handler="other_work"), name="lacks")
    with running_worker(lacks, "-c", "2") as misfit, running_worker(ours, "-c", "1") as fit:
        mine = set(fit.children())
        async with StreamPump.from_file(ours) as pump, asyncio.timeout(60):
            requests = [
                pump.request(name, Work(n)) for n in range(30) for name in ("work", "extra")
            ]
            answers = await asyncio.gather(*requests)
        assert {answer.pid for answer in answers} <= mine
        assert {answer.attempt for answer in answers} == {1}
        assert "dispatch refused" in misfit.log or "unregistered task" in misfit.log


@pytest.mark.parametrize("name", ["work", "extra"])
async def test_what_waits_for_a_busy_worker_is_not_tossed_about(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str, tmp_path: Path, name: str
) -> None:
    """An idle one that may not run it asks for it again, but not as fast as it can."""
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    ours = write(listener("work"), listener("extra"))
    lacks = write(listener("work", handler="other_work"), name="lacks")

    def counted(what: str) -> int:
        count: Any = redis_client.hget(f"{redis_prefix}l:counts", what)
        return int(count or 0)

    def released() -> int:
        return counted("released")

    def has_rested(times: int, first: int) -> bool:
        # After each rest once for each copy of its message, of which a slow machine makes some.
        return released() >= first + times * (1 + counted("published_again"))

    with running_worker(ours, "-c", "1"), running_worker(lacks, "-c", "1"):
        async with StreamPump.from_file(ours) as pump, asyncio.timeout(60):
            busy = asyncio.create_task(pump.request("work", Work(1, 0, str(runs), str(gate))))
            assert await asyncio.to_thread(eventually, lambda: bool(runs_in(runs)))
            waiting = asyncio.create_task(pump.request(name, Work(2)))
            assert await asyncio.to_thread(eventually, lambda: released() > 0)
            began, first = time.monotonic(), released()
            assert await asyncio.to_thread(eventually, lambda: has_rested(8, first))
            took_s = time.monotonic() - began
            gate.touch()
            assert [(await each).number for each in (busy, waiting)] == [1, 2]
    # However its machine delays it: what makes the rests short again is longer than they are.
    assert took_s > 2 * LONGEST_REST_S, redis_client.hgetall(f"{redis_prefix}l:counts")


def test_what_comes_right_back_is_refused_after_a_rest(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """However fast: a pump may have published it before its release is answered."""
    supervisor = supervisor_of(load_organism(write()))
    supervisor._advert["ff"] = 1
    ledger, release = supervisor._ledger, supervisor._ledger.release

    def release_and_receive(*refused: Any) -> int:
        count = release(*refused)
        for batch in ledger.publishable(9, 9, {}):
            supervisor.refuse(batch.ids)
        return count

    record(supervisor, "one")
    (batch,) = ledger.publishable(9, 9, {})
    supervisor.refuse(batch.ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "release", release_and_receive)
        supervisor._tick()
    assert redis_client.hget(f"{redis_prefix}l:counts", "released") == b"1"
    assert list(supervisor._unknown) == ["one"]
    supervisor.stop()


@pytest.mark.parametrize("name", ["work", "extra"])
async def test_what_no_worker_fits_is_a_dead_letter(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str, name: str
) -> None:
    """After `no_worker_s` its caller is told; what fits is run meanwhile."""
    ours = write(listener("work"), listener("extra"), listener("common"), celery=SOON)
    lacks = write(
        listener("work", handler="other_work"), listener("common"), name="lacks", celery=SOON
    )
    with running_worker(lacks):
        async with StreamPump.from_file(ours) as pump, asyncio.timeout(60):
            refused = asyncio.create_task(pump.request(name, Work(1)))
            assert (await pump.request("common", Work(2))).number == 2
            with pytest.raises(HandlerError, match=f"no live worker runs {name}") as caught:
                await refused
        assert caught.value.code == "worker_lost"
    assert redis_client.hlen(f"{redis_prefix}l:letters") == 1
    assert not redis_client.exists(f"{redis_prefix}l:parked")


@pytest.mark.parametrize("name", ["work", "extra"])
async def test_a_batch_that_no_worker_fits_ends_as_well(write: WriteOrganism, name: str) -> None:
    """However often it is published again meanwhile, `no_worker_s` counts from the first time."""
    celery = {"lease_s": 1.0, "no_worker_s": 4.0}
    ours = write(listener("work"), listener("extra"), celery=celery)
    lacks = write(listener("work", handler="other_work"), name="lacks", celery=celery)
    pump = StreamPump.from_file(ours)
    async with pump, asyncio.timeout(25):
        assert pump._engine is not None
        executor = pump._engine._executors["celery"]
        assert isinstance(executor, CeleryExecutor)
        for _ in range(ENOUGH):
            # As if it had been run here before, and its last worker had gone.
            executor.observe(name, 0.001)
        calls = [asyncio.create_task(pump.request(name, Work(n))) for n in range(12)]
        with running_worker(lacks):
            answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(answer) for answer in answers} == {
        f"no live worker runs {name} as this organism declares it"
    }


async def test_one_that_fits_may_come_later(write: WriteOrganism) -> None:
    """What waits for it is run as soon as there is one."""
    ours = write(celery={"lease_s": 2.0, "no_worker_s": 60})
    lacks = write(listener("work", handler="other_work"), name="lacks", celery={"lease_s": 2.0})
    with running_worker(lacks) as misfit:
        async with StreamPump.from_file(ours) as pump, asyncio.timeout(60):
            call = asyncio.create_task(pump.request("work", Work(1)))
            assert await asyncio.to_thread(eventually, lambda: "refused" in misfit.log)
            with running_worker(ours) as fit:
                assert (await call).pid in fit.children()


async def test_forged_records_and_messages_harm_nobody(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """Signed organisms refuse them; what they name is run all the same, and is not theirs."""
    organism = write(celery={"lease_s": 2.0})
    with running_worker(organism) as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            assert (await pump.request("work", Work(1))).number == 1
            for number in range(5):
                forged = f"forged~{number}{'?' * (number % 2)}"
                record = b"work\n\x01\x00" + b"import this" * 1000
                redis_client.hset(f"{redis_prefix}l:dispatches", forged, record)
                redis_client.rpush(f"{redis_prefix}l:ready", forged)
                redis_client.xadd(f"{redis_prefix}s:inbox", {"m": record, "c": "x"})
            answers = await asyncio.gather(*(pump.request("work", Work(n)) for n in range(50)))
            assert [answer.number for answer in answers] == list(range(50))
            quarantine = f"{redis_prefix}l:quarantine"
            assert await asyncio.to_thread(
                eventually, lambda: redis_client.llen(quarantine) == 10, timeout_s=20
            )
        assert all(len(raw) <= 4096 for raw in redis_client.lrange(quarantine, 0, -1))
        assert not redis_client.exists(f"{redis_prefix}l:dispatches")
        assert "record refused" in worker.log
        assert worker.process.poll() is None


def celery_command(organism: Path | None, *options: str) -> subprocess.CompletedProcess[str]:
    """How a worker that does not start ends."""
    environment = {name: text for name, text in os.environ.items() if name != "ORGANISM"}
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "cpu", *options],
        env=environment | ({} if organism is None else {"ORGANISM": str(organism)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_worker_that_lacks_modules_says_all_that_is_wrong(write: WriteOrganism) -> None:
    """It does not start, and lists every reason with file and line."""
    organism = write(
        listener("one") | {"handler": "no_such_module.handler"},
        listener("two") | {"payload_class": "also.not.there"},
        listener("three", timeout_s=-1),
    )
    done = celery_command(organism)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for part in ("no_such_module", "also", "timeout_s"):
        assert part in said
    assert said.count("organism.yaml:") >= 3


def test_other_pools_are_refused(write: WriteOrganism) -> None:
    """In them no death can be noticed and no handler stopped; the text says so."""
    done = celery_command(write(), "--pool", "threads")
    assert done.returncode != 0
    assert "a worker's pool must be prefork or solo, not thread" in done.stdout + done.stderr


def test_without_an_organism_it_says_what_to_set() -> None:
    """By the variable's name."""
    done = celery_command(None)
    assert done.returncode != 0
    assert "set $ORGANISM to the path of organism.yaml" in done.stdout + done.stderr
