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
#: Of the broker's that 30 such runs may take: the first and the last, and one for each half second
#: of two processes. They are twice as many where a whole window is published ahead.
MOST_MESSAGES = 15


async def test_few_messages_carry_a_backlog(write: WriteOrganism) -> None:
    """Of long runs too, which never share one: little of it is published ahead."""
    organism = write()
    inspect = app_as("monitor", organism).control.inspect(timeout=10)

    async def count_messages() -> int:
        (told,) = (await asyncio.to_thread(inspect.stats)).values()
        return int(told["total"]["test.work"])

    with running_worker(organism, "-c", "2") as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            known = [Work(number, DURATION_S) for number in range(10)]
            await asyncio.gather(*(pump.request("work", each) for each in known))
            messages = await count_messages()
            works = [Work(number, DURATION_S) for number in range(30)]
            answers = await asyncio.gather(*(pump.request("work", each) for each in works))
        assert [each.number for each in answers] == list(range(30))
        assert {each.pid for each in answers} == set(worker.children())
        assert 2 <= await count_messages() - messages <= MOST_MESSAGES


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


async def test_a_worker_that_comes_later_gets_work_for_all_its_processes(
    write: WriteOrganism, tmp_path: Path
) -> None:
    """However little is published ahead for those who are busy, and for as long as they are."""
    organism, runs, stop = write(), tmp_path / "runs", tmp_path / "stop"
    async with StreamPump.from_file(organism) as pump, asyncio.timeout(90):
        with running_worker(organism, "-c", "1"):
            known = [Work(number, DURATION_S) for number in range(10)]
            await asyncio.gather(*(pump.request("work", each) for each in known))
            works = [Work(number, 0, str(runs), str(stop)) for number in range(20)]
            calls = [asyncio.create_task(pump.request("work", each)) for each in works]
            assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) == 1)
            with running_worker(organism, "-c", "4") as late:
                assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) == 5)
                pids = {pid for _, pid in runs_in(runs)}
                assert len(pids) == 5
                assert pids > set(late.children())
                stop.touch()
                answers = await asyncio.gather(*calls)
    assert [each.number for each in answers] == list(range(20))


async def test_a_worker_that_is_killed_costs_what_it_ran(
    write: WriteOrganism, tmp_path: Path
) -> None:
    """What was published for it, and what it had taken past the broker, others run."""
    organism, runs = write(), tmp_path / "runs"
    with running_worker(organism, "-c", "2") as killed, running_worker(organism, "-c", "2"):
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
            works = [Work(number, DURATION_S, str(runs)) for number in range(100)]
            calls = [asyncio.create_task(pump.request("work", each)) for each in works]
            assert await asyncio.to_thread(eventually, lambda: len(runs_in(runs)) > 30)
            killed.kill()
            answers = await asyncio.gather(*calls)
    assert [each.number for each in answers] == list(range(100))
    numbers = [number for number, _ in runs_in(runs)]
    assert set(numbers) == set(range(100))
    assert len(numbers) - 100 <= 2
