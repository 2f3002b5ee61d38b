"""The stream of changes: told once, to whoever takes it, and nothing kept for the others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Event
from typing import Any

import pytest

from backends.errors import BackendUnavailableError
from pipeline.cli.console import live as module
from pipeline.cli.console.live import Live


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.005)
    monkeypatch.setattr(module, "SLOW_S", 0.05)


class Page:
    """An ASGI client that takes what it is sent, until it is told to stand still."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.is_over = False
        self._left = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        self.is_over = message["type"] == "http.response.body" and not message.get("more_body")
        for event in message.get("body", b"").decode().split("\n\n"):
            if event.startswith("event: "):
                name, _, data = event.removeprefix("event: ").partition("\ndata: ")
                self.told.append((name, json.loads(data)))

    def last(self, name: str) -> Any:
        return next((value for told, value in reversed(self.told) if told == name), None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def followed(live: Live) -> AsyncIterator[Page]:
    page = Page()
    await live.start()
    serving = asyncio.create_task(live.serve({}, page.receive, page.send))
    yield page
    page.leave()
    await asyncio.wait_for(serving, 10)
    await live.stop()


async def test_only_what_changes_is_told() -> None:
    """Section by section."""
    counts = {"n": 0}
    live = Live(lambda: {"still": 1, "moving": dict(counts)})
    async with followed(live) as page:
        await until(lambda: page.last("moving") == {"n": 0})
        counts["n"] = 1
        await until(lambda: page.last("moving") == {"n": 1})
        assert [name for name, _ in page.told] == ["redis", "still", "moving", "moving"]
    assert live.pages == 0


async def test_redis_away_is_told() -> None:
    """And that it is back; a fault of ours is told without its words."""
    trouble: list[Exception] = [BackendUnavailableError("redis at x does not answer")]

    def overview() -> dict[str, Any]:
        if trouble:
            raise trouble[0]
        return {"here": True}

    async with followed(Live(overview)) as page:
        await until(lambda: page.last("redis") == {"away": "redis at x does not answer"})
        trouble[0] = RuntimeError("planted")
        await until(lambda: "its log says why" in page.last("redis")["away"])
        trouble.clear()
        await until(lambda: page.last("redis") == {"away": ""})
        assert page.last("here") is True


async def test_a_look_that_failed_slowly_is_soon_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that hangs is waited for until a time-out, and may be back right after that."""
    monkeypatch.setattr(module, "PATIENCE", 10_000)
    trouble = [BackendUnavailableError("redis at x does not answer")]

    def overview() -> dict[str, Any]:
        if trouble:
            time.sleep(0.01)
            raise trouble.pop()
        return {}

    async with followed(Live(overview)) as page:
        await until(lambda: page.last("redis") == {"away": ""})


async def test_who_takes_nothing_is_cut_off() -> None:
    """And misses what came between if it goes on in time; nobody else waits for it."""
    counts = {"n": 0}

    def overview() -> dict[str, Any]:
        counts["n"] += 1
        return {"count": counts["n"]}

    live = Live(overview)
    async with followed(live) as page:
        await until(lambda: page.last("count") is not None)
        slow = Page()
        serving = asyncio.create_task(live.serve({}, slow.receive, slow.send))
        await until(lambda: bool(slow.told))
        slow.takes.clear()
        before = page.last("count")
        await asyncio.wait_for(serving, 10)
        assert live.cut_off == 1
        assert page.last("count") > before
        await until(lambda: page.last("count") > before + 1)


async def test_nobody_looks_when_nobody_asks() -> None:
    """Redis is left alone, and who comes next is not told what was."""
    looks: list[int] = []

    def overview() -> dict[str, Any]:
        looks.append(1)
        return {"looks": len(looks)}

    live = Live(overview)
    await live.start()
    quiet = 0
    for _ in range(2):
        page = Page()
        serving = asyncio.create_task(live.serve({}, page.receive, page.send))
        await until(lambda page=page: page.last("looks") is not None)  # type: ignore[misc]
        assert next(value for name, value in page.told if name == "looks") > quiet
        page.leave()
        await serving
        await asyncio.sleep(0.05)
        quiet = len(looks)
        await asyncio.sleep(0.05)
        assert len(looks) == quiet
    await live.stop()


async def test_who_left_meanwhile_leaves_nothing_behind() -> None:
    """What was being looked up is not what the next is told."""
    is_looking, goes_on = Event(), Event()
    looks: list[int] = []
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    def overview() -> dict[str, Any]:
        looks.append(1)
        is_looking.set()
        goes_on.wait(10)
        return {"looks": len(looks)}

    live = Live(overview)
    await live.start()
    first, second = Page(), Page()
    serving = asyncio.create_task(live.serve({}, first.receive, first.send))
    await until(is_looking.is_set)
    first.leave()
    await serving
    goes_on.set()
    # Behind it in its thread: it has ended, and nobody was there to hear of it.
    await asyncio.to_thread(int)
    serving = asyncio.create_task(live.serve({}, second.receive, second.send))
    await until(lambda: second.last("looks") is not None)
    assert next(value for name, value in second.told if name == "looks") == 2
    second.leave()
    await serving
    await live.stop()


async def test_an_end_lets_pages_go() -> None:
    """So that the server need not wait for them."""
    live = Live(lambda: {"here": True})
    page = Page()
    await live.start()
    serving = asyncio.create_task(live.serve({}, page.receive, page.send))
    await until(lambda: page.last("here") is True)
    live.end()
    await asyncio.wait_for(serving, 10)
    assert page.is_over
    await live.stop()
