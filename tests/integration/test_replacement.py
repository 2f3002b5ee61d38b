"""Who comes after a process of the pool that has ended, and how soon."""

import asyncio

from pipeline import StreamPump
from tests.fleet import running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import NO_TICK, Work


async def test_a_process_that_ended_is_replaced_at_once(write: WriteOrganism) -> None:
    """Not at Celery's next look, which here never comes: twenty in a row, one message each."""
    organism = write(process_pool={"workers": 1, "max_tasks_per_child": 1})
    with running_worker(organism, environment={NO_TICK: "1"}) as worker:
        async with StreamPump.from_file(organism) as pump:
            answers = []
            for number in range(20):
                async with asyncio.timeout(30):
                    answers.append(await pump.request("work", Work(number)))
    assert [each.number for each in answers] == list(range(20))
    assert len({each.pid for each in answers}) == 20, worker.log
