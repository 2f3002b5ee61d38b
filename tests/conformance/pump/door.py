"""What may come in, and what is refused at the door."""

import asyncio

import pytest

from pipeline import (
    HandlerMetadata,
    HandlerResponse,
    NoAnswerError,
    PayloadTypeError,
    PumpStoppedError,
    StreamPump,
    UnknownListenerError,
    get_context_buffer,
)
from pipeline.errors import PayloadTooLargeError
from pipeline.organism import Limits
from tests.conformance.pump.base import (
    OpenPump,
    Other,
    Ping,
    Pong,
    PumpContract,
    answer,
    silent,
)


class LoudPing(Ping):
    """A subclass; as a dataclass's child it is one."""


class Door(PumpContract):
    async def test_what_is_wrong_is_refused_and_nothing_stored(self, open_pump: OpenPump) -> None:
        """A wrong type, value or size, and an unknown listener, each with an error that says so."""
        pump = await open_pump({"callee": answer}, limits=Limits(max_payload_bytes=200))
        with pytest.raises(UnknownListenerError, match='no listener is called "caller".*"callee"'):
            await pump.inject("caller", Ping())
        with pytest.raises(
            PayloadTypeError, match="external sent Other to 'callee', which takes Ping"
        ):
            await pump.inject("callee", Other())
        with pytest.raises(PayloadTypeError, match="Expected `int`, got `str`"):
            await pump.request("callee", Ping("one"))  # type: ignore[arg-type]
        with pytest.raises(PayloadTooLargeError, match=r"Ping is \d+ bytes, over limits.max_pay"):
            await pump.inject("callee", Ping(text="x" * 200))
        assert get_context_buffer().get_stats()["thread_count"] == 0
        await pump.join()

    async def test_a_subclass_passes(self, open_pump: OpenPump) -> None:
        """A listener takes what its class takes."""
        pump = await open_pump({"callee": answer})
        assert await pump.request("callee", LoudPing(5)) == Pong(5)

    async def test_a_pump_that_is_not_running_says_so(self) -> None:
        """Before the start, and after the end."""
        pump = StreamPump(name="idle")
        pump.register("callee", answer, Ping)
        with pytest.raises(PumpStoppedError, match="'idle' is not running"):
            await pump.inject("callee", Ping())
        await pump.start()
        await pump.start()
        assert await pump.request("callee", Ping(1)) == Pong(1)
        await pump.shutdown()
        await pump.shutdown()
        with pytest.raises(PumpStoppedError):
            await pump.request("callee", Ping())

    async def test_a_message_id_deduplicates(self, open_pump: OpenPump) -> None:
        """The second message with one id is not sent; whoever asks gets the first's answer."""
        runs: list[int] = []

        async def once(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
            runs.append(payload.number)
            await asyncio.sleep(0.02)
            return HandlerResponse.respond(Pong(payload.number))

        pump = await open_pump({"once": once, "silent": silent})
        first, second = await asyncio.gather(
            pump.request("once", Ping(1), message_id="m1"),
            pump.request("once", Ping(2), message_id="m1"),
        )
        assert first == second == await pump.request("once", Ping(3), message_id="m1")
        assert len(runs) == 1
        injected = await pump.inject("once", Ping(4), message_id="m2")
        assert await pump.inject("once", Ping(5), message_id="m2") == injected
        await pump.join()
        assert len(runs) == 2
        await pump.inject("silent", Ping(), message_id="m3")
        await pump.join()
        with pytest.raises(NoAnswerError):
            await pump.request("silent", Ping(), message_id="m3")
