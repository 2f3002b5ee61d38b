"""A process goes on with what waits, and takes a message of the broker's only now and then."""

import asyncio
import os
import signal
from pathlib import Path

from pipeline import StreamPump
from tests.fleet import app_as, running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work, runs_in
from tests.waiting import eventually

#: Seconds; too long for two to share a message.
DURATION_S = 0.06


async def test_few_messages_carry_a_backlog(write: WriteOrganism) -> None:
    """Of long runs too, which never share one."""
    organism = write()
    inspect = app_as("monitor", organism).control.inspect(timeout=10)
    with running_worker(organism) as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            works = [Work(number, DURATION_S) for number in range(60)]
            answers = await asyncio.gather(*(pump.request("work", each) for each in works))
        assert [each.number for each in answers] == list(range(60))
        assert {each.pid for each in answers} == set(worker.children())
        stats = await asyncio.to_thread(inspect.stats)
    (told,) = stats.values()
    assert 2 <= told["total"]["test.work"] <= 45


async def test_a_process_that_dies_on_the_way_costs_what_it_ran(
    write: WriteOrganism, tmp_path: Path
) -> None:
    """What was handed in before is not run again; what it had taken runs elsewhere."""
    organism, runs = write(), tmp_path / "runs"
    with running_worker(organism):
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            works = [Work(number, DURATION_S, str(runs)) for number in range(60)]
            calls = [asyncio.create_task(pump.request("work", each)) for each in works]
            assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) > 20)
            os.kill(runs_in(runs)[-1][1], signal.SIGKILL)
            answers = await asyncio.gather(*calls)
    assert [each.number for each in answers] == list(range(60))
    numbers = [number for number, _ in runs_in(runs)]
    assert set(numbers) == set(range(60))
    assert len(numbers) - 60 <= 1
