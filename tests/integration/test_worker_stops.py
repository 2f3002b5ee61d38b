"""A worker told to stop does so in its time, and nothing it held waits for a lease to end."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import StreamPump
from tests.fleet import Worker, running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Done, Work, runs_in
from tests.servers import running_redis
from tests.waiting import eventually

#: So long that whoever waited for it would not be done in time.
LEASE_S = 60.0
#: Seconds that ending may take besides the grace period.
MARGIN_S = 8.0


def told_to_stop(worker: Worker, *, within_s: float) -> float:
    """Send SIGTERM; the seconds until the worker has ended, in good order."""
    started = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(within_s + 30)
    took_s = time.monotonic() - started
    assert took_s < within_s, worker.log
    return took_s


async def stopped(worker: Worker, *, within_s: float) -> float:
    return await asyncio.to_thread(told_to_stop, worker, within_s=within_s)


def celery(grace_s: float, **more: Any) -> dict[str, Any]:
    return {"lease_s": LEASE_S, "grace_s": grace_s, **more}


def test_an_idle_worker_stops_soon(write: WriteOrganism) -> None:
    """Whatever its grace period."""
    with running_worker(write(celery=celery(60))) as worker:
        told_to_stop(worker, within_s=MARGIN_S)
        assert "Traceback" not in worker.log


async def test_under_load_nothing_waits_for_a_lease(write: WriteOrganism, tmp_path: Path) -> None:
    """What it runs it finishes; what it holds unstarted others run, at once."""
    organism, runs = write(celery=celery(20)), tmp_path / "runs"
    with running_worker(organism) as first, running_worker(organism):
        async with StreamPump.from_file(organism) as pump:
            calls = [
                asyncio.create_task(pump.request("work", Work(n, 0.1, str(runs))))
                for n in range(200)
            ]
            mine = set(first.children())
            assert await asyncio.to_thread(
                eventually, lambda: len([1 for _, pid in runs_in(runs) if pid in mine]) > 10
            )
            await stopped(first, within_s=20 + MARGIN_S)
            async with asyncio.timeout(LEASE_S / 2):
                answers = await asyncio.gather(*calls)
    assert [each.number for each in answers] == list(range(200))
    assert {each.attempt for each in answers} == {1}
    assert sorted(number for number, _ in runs_in(runs)) == list(range(200))
    assert "Traceback" not in first.log


async def test_what_outlasts_the_grace_period_is_run_elsewhere(
    write: WriteOrganism, tmp_path: Path
) -> None:
    """Uncounted, for it did nothing wrong; with one attempt allowed it still completes."""
    organism = write(celery=celery(2, max_attempts=1))
    runs, gate = tmp_path / "runs", tmp_path / "gate"
    async with StreamPump.from_file(organism) as pump:
        with running_worker(organism) as first:
            call = asyncio.create_task(
                pump.request("work", Work(7, path=str(runs), wait_for=str(gate)))
            )
            assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) == 1)
            with running_worker(organism):
                took_s = await stopped(first, within_s=2 + MARGIN_S)
                assert took_s >= 2
                assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) == 2)
                gate.touch()
                async with asyncio.timeout(LEASE_S / 2):
                    done = await call
    (_, before), (_, after) = runs_in(runs)
    assert done == Done(7, after, 1)
    assert before != after


async def test_telling_every_process_at_once_loses_nothing(
    write: WriteOrganism, tmp_path: Path
) -> None:
    """As a service manager may do it: what its processes ran is run elsewhere, uncounted."""
    organism = write(celery=celery(20, max_attempts=1))
    runs, gate = tmp_path / "runs", tmp_path / "gate"
    async with StreamPump.from_file(organism) as pump:
        with running_worker(organism) as first:
            work = Work(3, path=str(runs), wait_for=str(gate))
            call = asyncio.create_task(pump.request("work", work))
            assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) == 1)
            for pid in (first.pid, *first.children()):
                os.kill(pid, signal.SIGTERM)
            await asyncio.to_thread(first.process.wait, MARGIN_S)
        with running_worker(organism):
            gate.touch()
            async with asyncio.timeout(LEASE_S / 2):
                done = await call
    assert (done.number, done.attempt) == (3, 1)
    assert done.pid == runs_in(runs)[-1][1]


@pytest.mark.parametrize("is_busy", [False, True])
async def test_it_stops_while_redis_is_away(
    write: WriteOrganism, tmp_path: Path, *, is_busy: bool
) -> None:
    """Nobody can be told, yet it ends within its grace period."""
    runs, gate = tmp_path / "runs", tmp_path / "gate"
    with running_redis() as server:
        organism = write(url=server.url, celery=celery(3))
        with running_worker(organism) as worker:
            if is_busy:
                async with StreamPump.from_file(organism) as pump:
                    await pump.inject("work", Work(1, path=str(runs), wait_for=str(gate)))
                    assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) == 1)
            server.process.kill()
            server.process.wait()
            await stopped(worker, within_s=3 + MARGIN_S)
