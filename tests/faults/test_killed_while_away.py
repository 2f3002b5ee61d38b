"""A process that ends while Redis is away: Celery's time limit ends those that wait for it."""

import asyncio
import os
import signal
from pathlib import Path

from pipeline import StreamPump
from tests.fleet import running_worker, write_organism
from tests.integration.conftest import listener
from tests.integration.worker_handlers import Work, runs_in
from tests.servers import running_redis
from tests.waiting import eventually


async def test_its_death_is_no_attempt(tmp_path: Path) -> None:
    """What it held is run again, even where no second attempt is allowed."""
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    with running_redis() as server:
        url = f"{server.url}?socket_timeout=1"
        celery = {"max_attempts": 1}
        organism = write_organism(tmp_path / "o.yaml", url, "p:", [listener()], celery=celery)
        with running_worker(organism) as worker:
            async with StreamPump.from_file(organism) as pump, asyncio.timeout(60):
                call = asyncio.create_task(pump.request("work", Work(1, 0, str(runs), str(gate))))
                assert await asyncio.to_thread(eventually, lambda: bool(runs_in(runs)))
                server.process.send_signal(signal.SIGSTOP)
                try:
                    assert await asyncio.to_thread(eventually, lambda: "redis away" in worker.log)
                    os.kill(runs_in(runs)[0][1], signal.SIGKILL)
                finally:
                    server.process.send_signal(signal.SIGCONT)
                gate.touch()
                answer = await call
    assert (answer.number, answer.attempt, len(runs_in(runs))) == (1, 1, 2)
