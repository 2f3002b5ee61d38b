"""What becomes of what is at work, and of who waits, when a pump stops or starts again."""

import asyncio
import threading
from typing import Any

import pytest

from pipeline import HandlerError, HandlerMetadata, PumpStoppedError
from pipeline.organism import Limits
from tests.conformance.pump.base import OpenPump, Ping, Pong, PumpContract, answer, settled
from tests.conformance.pump.limits import Gauge


class Shutdown(PumpContract):
    async def test_drain_finishes_what_runs_and_drops_what_waits(
        self, open_pump: OpenPump, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Running handlers end; the rest is reported, and no request hangs."""
        gauge = Gauge()
        pump = await open_pump({"slow": gauge}, limits=Limits(max_concurrent_handlers=2))
        requests = [asyncio.create_task(pump.request("slow", Ping(n))) for n in range(5)]
        await settled(lambda: gauge.running == 2)
        stopping = asyncio.create_task(pump.shutdown())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        gauge.gate.set()
        await stopping
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert outcomes[:2] == [Pong(0), Pong(1)]
        assert all(isinstance(each, PumpStoppedError) for each in outcomes[2:])
        (dropped,) = [each for each in caplog.records if each.getMessage() == "messages dropped"]
        assert dropped.__dict__["count"] == 3

    @pytest.mark.parametrize("settings", [{"drain": False}, {"timeout_s": 0.05}])
    async def test_without_drain_it_cancels(
        self, open_pump: OpenPump, settings: dict[str, Any]
    ) -> None:
        """`drain=False`, or a drain that takes longer than `timeout_s`."""
        gauge = Gauge()
        pump = await open_pump({"stuck": gauge})
        request = asyncio.create_task(pump.request("stuck", Ping()))
        await settled(lambda: gauge.running == 1)
        async with asyncio.timeout(5):
            await pump.shutdown(**settings)
        with pytest.raises(PumpStoppedError):
            await request

    @pytest.mark.parametrize("times", [1, 200])
    async def test_giving_up_on_a_drain_ends_it(self, open_pump: OpenPump, times: int) -> None:
        """Cancelled, even again and again, `shutdown` leaves nothing at work and holds nothing."""
        gauge = Gauge()
        pump = await open_pump({"stuck": gauge})
        before = asyncio.all_tasks()
        await pump.shutdown()
        idle = asyncio.all_tasks() & before
        await pump.start()
        await pump.inject("stuck", Ping(1), message_id="one")
        await settled(lambda: gauge.running == 1)
        stopping = asyncio.create_task(pump.shutdown())
        await asyncio.sleep(0)
        for _ in range(times):
            stopping.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await settled(lambda: asyncio.all_tasks() == idle)
        assert not any(thread.name == "caretaker" for thread in threading.enumerate())
        gauge.gate.set()
        await pump.start()
        assert await pump.request("stuck", Ping(1), message_id="one", timeout_s=20) == Pong(1)

    async def test_a_start_waits_for_the_end_of_a_drain(self, open_pump: OpenPump) -> None:
        """What the pump takes then is not told that it stopped."""
        old, new = Gauge(), Gauge()
        pump = await open_pump({"old": old, "new": new})
        first = asyncio.create_task(pump.request("old", Ping(1)))
        await settled(lambda: old.running == 1)
        stopping = asyncio.create_task(pump.shutdown())
        await asyncio.sleep(0)
        starting = asyncio.create_task(pump.start())
        await asyncio.sleep(0.05)
        with pytest.raises(PumpStoppedError):
            await pump.inject("new", Ping())
        old.gate.set()
        await stopping
        assert await first == Pong(1)
        await starting
        second = asyncio.create_task(pump.request("new", Ping(2)))
        await settled(lambda: new.running == 1)
        new.gate.set()
        assert await second == Pong(2)

    async def test_a_handler_cannot_wait_for_the_end(self, open_pump: OpenPump) -> None:
        """Of its own pump, which waits for it: that is an error, and no end."""

        async def stop(payload: Ping, metadata: HandlerMetadata) -> None:
            await pumps[0].shutdown(drain=bool(payload.number))

        pumps = [await open_pump({"stop": stop, "callee": answer})]
        for number in range(2):
            with pytest.raises(HandlerError, match="call shutdown in a task of its own"):
                await pumps[0].request("stop", Ping(number), timeout_s=10)
        assert await pumps[0].request("callee", Ping(3)) == Pong(3)

    async def test_who_waits_at_the_door_is_turned_away(self, open_pump: OpenPump) -> None:
        """A pump that stops lets nobody wait for ever."""
        gauge = Gauge()
        pump = await open_pump({"slow": gauge}, max_threads=1)
        await pump.inject("slow", Ping())
        waiting = asyncio.create_task(pump.inject("slow", Ping()))
        await settled(lambda: gauge.running == 1)
        await pump.shutdown(drain=False)
        with pytest.raises(PumpStoppedError):
            await waiting

    async def test_a_pump_can_start_again(self, open_pump: OpenPump) -> None:
        """With the same listeners."""
        pump = await open_pump({"callee": answer})
        await pump.request("callee", Ping())
        await pump.shutdown()
        await pump.start()
        assert await pump.request("callee", Ping(2)) == Pong(2)
