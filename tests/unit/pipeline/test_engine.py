"""How a pump starts, what it refuses to start with, and what it keeps apart."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backends import BackendConfig
from backends.codec import Codec
from backends.errors import UnknownTypeError
from backends.types import TypeRegistry
from pipeline import (
    ConfigError,
    HandlerMetadata,
    HandlerResponse,
    Organism,
    StreamPump,
    get_context_buffer,
    get_registry,
)
from pipeline.events import Event
from pipeline.executors.process_pool import PoolStartError
from pipeline.organism import Serialization
from tests.servers import children_of


@dataclass
class Ask:
    number: int = 0


@dataclass
class Other: ...


@dataclass
class Odd:
    value: Ask | Other


async def handle(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with one dataclass, which nothing imports."""
    name = "only_by_serialization_modules"
    (tmp_path / f"{name}.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Told:\n    text: str\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("steps", [1, 3, 1000])
async def test_a_start_that_is_cancelled_leaves_no_process(steps: int) -> None:
    """Whenever it is: what its thread makes afterwards is closed as well."""
    before = set(children_of(os.getpid()))
    pump = StreamPump(Organism("o", backend=BackendConfig("manager")))
    starting = asyncio.create_task(pump.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert not pump.is_running
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    assert set(children_of(os.getpid())) <= before


async def test_serialization_modules_may_come_off_the_wire(module: str) -> None:
    """Types that no listener names, and no others."""
    told = TypeRegistry()
    organism = Organism("o", serialization=Serialization(modules=(module,)))
    async with StreamPump(organism) as pump:
        declared = sys.modules[module].Told
        record = Codec(types=told).encode(declared("hello"))
        stranger = Codec(types=told).encode(_stranger())
        assert pump._running().codec.decode(record) == declared("hello")
        with pytest.raises(UnknownTypeError):
            pump._running().codec.decode(stranger)


def _stranger() -> Any:
    @dataclass
    class Stranger: ...

    return Stranger()


@pytest.mark.parametrize(
    ("organism", "text"),
    [
        (
            Organism("o", serialization=Serialization(modules=("no_such_module",))),
            "serialization.modules: No module named 'no_such_module'",
        ),
    ],
)
async def test_what_cannot_start_says_why(organism: Organism, text: str) -> None:
    """As a mistake in the configuration, and the pump is not running."""
    pump = StreamPump(organism)
    with pytest.raises(ConfigError, match=text):
        await pump.start()
    assert not pump.is_running


async def test_a_payload_class_that_cannot_travel_is_refused() -> None:
    """When the pump starts, and when it runs already; it goes on, and starts again, without it."""
    pump = StreamPump(name="o")
    pump.register("odd", handle, Odd)
    with pytest.raises(ConfigError, match="listener 'odd': payload_class: .*Odd can't be decoded"):
        await pump.start()
    running = StreamPump(name="o")
    running.register("ask", handle, Ask)
    async with running:
        with pytest.raises(ConfigError, match="Odd can't be decoded"):
            running.register("odd", handle, Odd)
        assert await running.request("ask", Ask(1)) == Ask(1)
        await running.shutdown()
        await running.start()
        assert [listener.name for listener in running.organism.listeners] == ["ask"]


async def test_a_failed_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither threads nor a backend; mended, the same pump starts."""
    source = tmp_path / "raises_elsewhere.py"
    source.write_text(
        "import multiprocessing\n"
        "from dataclasses import dataclass\n"
        "if multiprocessing.parent_process() is not None:\n"
        "    raise RuntimeError('not in a child')\n"
        "@dataclass\nclass Task: ...\n"
        "def work(payload, metadata): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    elsewhere = __import__("raises_elsewhere")
    before = set(threading.enumerate())
    pump = StreamPump(name="o")
    pump.register("work", elsewhere.work, elsewhere.Task, cpu_bound=True)
    with pytest.raises(PoolStartError, match="not in a child"):
        await pump.start()
    assert not pump.is_running
    left = set(threading.enumerate()) - before
    assert not any("store server" in thread.name for thread in left)
    del sys.modules["raises_elsewhere"]


def test_a_loop_that_ends_cancels_handlers() -> None:
    """Though nobody shut the pump down; that is no failure of theirs."""
    seen: list[Event] = []

    async def wait(payload: Ask, metadata: HandlerMetadata) -> None:
        seen.clear()
        await asyncio.Event().wait()

    async def leave_at_work() -> None:
        pump = StreamPump(name="o")
        pump.register("wait", wait, Ask)
        pump.subscribe(seen.append)
        await pump.start()
        await pump.inject("wait", Ask())
        async with asyncio.timeout(10):
            while seen:
                await asyncio.sleep(0)

    asyncio.run(leave_at_work())
    assert seen == []


async def test_two_pumps_of_a_process_keep_apart() -> None:
    """Each handler finds its own pump's buffer and registry, whichever started last."""

    async def look(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        thread = get_context_buffer().get_thread(metadata.thread_id)
        assert get_registry().lookup(metadata.thread_id) is not None
        return HandlerResponse.respond(Ask(sum(slot.payload.number for slot in thread)))

    pumps = [StreamPump(name=f"o{n}") for n in range(2)]
    for pump in pumps:
        pump.register("look", look, Ask)
    async with pumps[0], pumps[1]:
        for number, pump in enumerate(pumps):
            told = await pump.request("look", Ask(number + 5), thread_id="same")
            assert told == Ask(number + 5)
            assert pump.registry.lookup("same") == f"system.o{number}.@same.external.look"


async def test_a_pump_that_stops_leaves_another_its_place() -> None:
    """Outside handlers the last started that runs is at hand, in threads too."""
    pumps = [StreamPump(name=f"o{n}") for n in range(3)]
    async with pumps[0]:
        await pumps[1].start()
        await pumps[2].start()
        for stopping, left in ((pumps[1], pumps[2]), (pumps[2], pumps[0])):
            await stopping.shutdown()
            assert get_context_buffer() is left.buffer
            assert get_registry() is left.registry
            with ThreadPoolExecutor(1) as threads:
                assert threads.submit(get_context_buffer).result() is left.buffer
