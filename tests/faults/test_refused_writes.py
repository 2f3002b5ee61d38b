"""A Redis that is full, or whose disk is: nothing is lost, everybody says so once and goes on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import StreamPump
from tests.chaos.outages import Outage, failed_saves, fills, full_disks
from tests.fleet import running_worker, write_organism
from tests.servers import running_redis
from tests.soak.handlers import LISTENERS, Load

#: Bytes of each payload, and of Redis's memory beyond what it has at first: what a pump lets in at
#: once needs several times that.
FILLER, ROOM = 8192, 4 * 1024**2
MANY = 1500

Begin = Callable[..., Outage]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("begin", "remedy"),
    [
        (fills, "OOM: its memory is full; raise maxmemory, or"),
        (failed_saves, "MISCONF: it can't save to its disk; make room there"),
        (full_disks, "MISCONF: it can't save to its disk; make room there"),
    ],
)
def test_a_redis_that_takes_no_writes(begin: Begin, remedy: str) -> None:
    """Under load; each process says once what is wrong and what helps, and once that it is over."""
    outage = begin(1500, times=1, away_s=3.0, limit_s=180)
    report = outage.report
    assert report.is_whole, report
    assert outage.away == outage.back == [1] * 4, outage
    assert all(remedy in log for log in outage.logs), outage
    assert not any("Traceback" in log for log in outage.logs), outage


@pytest.mark.timeout(240)
async def test_a_full_redis_drains_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is inside goes on, and frees the memory that the next need; nobody raises the limit."""
    with running_redis() as server:
        organism = write_organism(
            tmp_path / "organism.yaml",
            server.url,
            "full:",
            LISTENERS,
            backend={"keep_closed": 10},
        )
        with running_worker(organism) as worker:
            client = server.client()
            client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM)
            client.close()
            async with StreamPump.from_file(organism) as pump, asyncio.timeout(180):
                asked = (pump.request("burn", Load(n, "x" * FILLER)) for n in range(MANY))
                answers = await asyncio.gather(*asked)
            assert [answer.number for answer in answers] == list(range(MANY))
        assert caplog.text.count("OOM: its memory is full; raise maxmemory, or") == 1, caplog.text
        assert worker.log.count("OOM: its memory is full") <= 1, worker.log
