"""RabbitMQ as Celery's broker; what must be kept stays in Redis."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import StreamPump
from pipeline.organism_file import load_organism
from tasks.application import create_app
from tests.fleet import running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work, runs_in
from tests.servers import RabbitServer, running_rabbitmq
from tests.waiting import eventually

LEASE_S = 3.0


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitServer]:
    with running_rabbitmq() as server:
        yield server


@pytest.fixture
def organism(write: WriteOrganism, rabbit: RabbitServer) -> Path:
    return write(celery={"broker_url": rabbit.url, "lease_s": LEASE_S})


async def test_requests_are_answered(organism: Path) -> None:
    """From end to end, with every message confirmed by the broker."""
    options = create_app(load_organism(organism)).conf.broker_transport_options
    assert options["confirm_publish"] is True
    with running_worker(organism) as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            answers = await asyncio.gather(*(pump.request("work", Work(n)) for n in range(100)))
        assert [answer.number for answer in answers] == list(range(100))
        assert {answer.pid for answer in answers} <= set(worker.children())


async def test_a_killed_worker_is_taken_over(organism: Path, tmp_path: Path) -> None:
    """The broker would wait for its connection; the ledger does not wait for the broker."""
    runs = tmp_path / "runs"
    with running_worker(organism) as first, running_worker(organism):
        mine = set(first.children())
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            calls = [
                asyncio.create_task(pump.request("work", Work(n, 0.05, str(runs))))
                for n in range(100)
            ]
            assert await asyncio.to_thread(
                eventually, lambda: any(pid in mine for _, pid in runs_in(runs))
            )
            os.kill(first.pid, signal.SIGKILL)
            answers = await asyncio.gather(*calls)
    assert [answer.number for answer in answers] == list(range(100))


async def test_a_broker_that_goes_and_comes_loses_nothing(
    organism: Path, rabbit: RabbitServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed under load and started again: all is answered once, and is said once each way."""
    caplog.set_level(logging.WARNING, "backends.contact")
    runs = tmp_path / "runs"
    with running_worker(organism) as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(90):
            calls = [
                asyncio.create_task(pump.request("work", Work(n, 0.02, str(runs))))
                for n in range(300)
            ]
            assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) > 20)
            await asyncio.to_thread(rabbit.stop)
            assert await asyncio.to_thread(eventually, lambda: "broker away" in caplog.text)
            await asyncio.to_thread(rabbit.start)
            answers = await asyncio.gather(*calls)
        assert worker.process.poll() is None
    assert [answer.number for answer in answers] == list(range(300))
    said = [record.getMessage() for record in caplog.records if "broker" in record.getMessage()]
    assert said == ["broker away", "broker back"]
    assert "guest:guest" not in caplog.text
