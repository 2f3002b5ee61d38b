"""A Redis that went back in time names claims that nobody works on any more."""

import asyncio
from pathlib import Path
from typing import Any

import redis

from pipeline import StreamPump
from tests.fleet import LEASE_S, running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work, runs_in
from tests.waiting import eventually


async def soon(condition: Any) -> bool:
    return await asyncio.to_thread(eventually, condition, timeout_s=30)


async def test_what_a_live_process_has_long_ended_is_run_again(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str, tmp_path: Path
) -> None:
    """Its outcome went with a primary that died; the process idles, and its worker lives.

    What it runs right now is left to it, however often its worker looks.
    """
    client: Any = redis_client
    claims, service = f"{redis_prefix}l:claims", f"{redis_prefix}l:service"
    kept = (f"{redis_prefix}l:dispatches", claims)
    runs, gate = tmp_path / "runs", tmp_path / "gate"
    organism = write()
    with running_worker(organism, "--concurrency", "1") as worker:
        async with StreamPump.from_file(organism) as pump:
            work = Work(1, path=str(runs), wait_for=str(gate))
            call = asyncio.create_task(pump.request("work", work))
            assert await soon(lambda: bool(runs_in(runs)))
            held = {key: client.hgetall(key) for key in kept}
            since = float(client.hget(service, "last"))
            long_after = since + LEASE_S * 1000
            assert await soon(lambda: float(client.hget(service, "last")) > long_after)
            assert client.hgetall(claims) == held[claims]

            gate.touch()
            await call
            assert await soon(lambda: not client.exists(claims))
            assert len(runs_in(runs)) == 1
            for key, fields in held.items():
                client.hset(key, mapping=fields)
            assert await soon(lambda: len(runs_in(runs)) == 2), worker.log
            assert await soon(lambda: not client.exists(claims))
    assert "claims without work" in worker.log
