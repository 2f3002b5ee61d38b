"""A Redis that is full, or whose disk is: nothing is lost, everybody says so once and goes on."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backends import BackendConfig
from pipeline import HandlerMetadata, HandlerResponse, Organism, StreamPump
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of
from pipeline.worker import Call, Completed, Outcome
from tasks.executor import CeleryExecutor
from tests.chaos.outages import refusals
from tests.fleet import running_worker, write_organism
from tests.proxy import running_proxy
from tests.servers import running_redis
from tests.soak.handlers import LISTENERS, Load, burn
from tests.waiting import eventually

#: Bytes of each payload, and of Redis's memory beyond what it has at first: what a pump lets in at
#: once needs several times that.
FILLER, ROOM = 8192, 4 * 1024**2
MANY = 700


@pytest.mark.timeout(240)
def test_a_redis_that_takes_no_writes() -> None:
    """Each process says once what is wrong and what helps, and once that it is over."""
    outage = refusals(800, away_s=0.5, gap_s=0.0, limit_s=180)
    report = outage.report
    assert report.is_whole, report
    # Of the second and third the reason is the same; between them it may have been quiet for long.
    assert outage.away == [times + 1 for times in outage.back], outage
    assert max(outage.back) <= 2, outage
    for log in outage.logs:
        assert log.count("takes no writes: OOM: its memory is full; raise maxmemory, or") == 1
        assert "takes no writes: MISCONF: it can't save to its disk; make room there" in log
        assert "Unrecoverable error" not in log
        # Nor at length.
        assert "Traceback" not in log


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


@pytest.mark.timeout(120)
async def test_single_calls_make_room_for_each_other(tmp_path: Path) -> None:
    """More of them than fit at once: those that are recorded are run, and the rest are next."""
    with running_redis() as server, closing(server.client()) as found:
        client: Any = found
        file = write_organism(tmp_path / "organism.yaml", server.url, "full:", LISTENERS)
        organism = load_organism(file)
        codec = codec_of(organism)
        executor = CeleryExecutor(organism, codec)

        async def run(number: int) -> Outcome:
            payload = codec.encode(Load(number, "x" * FILLER))
            return await executor.run(Call("burn", burn, payload, HandlerMetadata("t", "me")))

        with running_worker(file):
            await executor.start()
            await run(0)
            client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM)
            try:
                async with asyncio.timeout(60):
                    outcomes = await asyncio.gather(*map(run, range(MANY)))
            finally:
                await executor.stop()
        assert all(isinstance(each, Completed) for each in outcomes)


async def test_what_waits_for_room_is_not_taken_for_lost(caplog: pytest.LogCaptureFixture) -> None:
    """A connection breaks meanwhile, so the pump asks what became of what it has sent."""
    with (
        running_redis() as server,
        running_proxy(server.port) as proxy,
        closing(server.client()) as found,
    ):
        client: Any = found

        def asked_for() -> int:
            calls: int = client.info("commandstats").get("cmdstat_xread", {"calls": 0})["calls"]
            return calls

        async def echo(payload: Load, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(payload)

        url = f"redis://127.0.0.1:{proxy.port}/0"
        pump = StreamPump(Organism("test", backend=BackendConfig("redis", url, "door:")))
        pump.register("echo", echo, Load)
        async with pump, asyncio.timeout(60):
            client.config_set("maxmemory", 1)
            asked = asyncio.create_task(pump.request("echo", Load(7, "")))
            assert await asyncio.to_thread(eventually, lambda: "OOM: its memory" in caplog.text)
            before = asked_for()
            proxy.cut()
            # One that follows the break, and one that follows its answer.
            assert await asyncio.to_thread(eventually, lambda: asked_for() > before + 1)
            client.config_set("maxmemory", 0)
            assert (await asked).number == 7


@pytest.mark.parametrize("is_in", [True, False], ids=["in", "waiting"])
async def test_one_that_gives_up_takes_nothing_from_who_asked_the_same(
    caplog: pytest.LogCaptureFixture, *, is_in: bool
) -> None:
    """Under one message id, while there is no room; then the answer's way to the pump breaks."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def echo(payload: Load, metadata: HandlerMetadata) -> HandlerResponse:
        begun.set()
        await may_end.wait()
        return HandlerResponse.respond(payload)

    with (
        running_redis() as server,
        running_proxy(server.port) as proxy,
        closing(server.client()) as found,
    ):
        client: Any = found
        url = f"redis://127.0.0.1:{proxy.port}/0"
        pump = StreamPump(Organism("test", backend=BackendConfig("redis", url, "door:")))
        pump.register("echo", echo, Load)

        def ask() -> asyncio.Task[Load]:
            return asyncio.create_task(pump.request("echo", Load(7, ""), message_id="same"))

        async with pump, asyncio.timeout(30):
            if is_in:
                asked = ask()
                await begun.wait()
            client.config_set("maxmemory", 1)
            again = ask()
            assert await asyncio.to_thread(eventually, lambda: "OOM: its memory" in caplog.text)
            if not is_in:
                asked = ask()
                await asyncio.sleep(0)
            again.cancel()
            await asyncio.wait([again])
            client.config_set("maxmemory", 0)
            await begun.wait()
            joined = asyncio.create_task(pump.join())
            await asyncio.sleep(0)
            assert not joined.done()
            proxy.lose_answer_to(b"settle")
            may_end.set()
            assert (await asked).number == 7
            await joined
            assert proxy.has_lost
