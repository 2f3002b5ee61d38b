"""Executors that other packages offer: found by name, and held at arm's length."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.codec import Codec
from pipeline import (
    ConfigError,
    HandlerError,
    HandlerMetadata,
    HandlerResponse,
    Organism,
    StreamPump,
)
from pipeline.executors import InlineExecutor
from pipeline.executors.registry import ExecutorSetup
from pipeline.worker import Call, Outcome


@dataclass
class Ask:
    number: int


def double(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Ask(payload.number * 2))


class Recorder(InlineExecutor):
    """Runs handlers here, notes which, and loses number 13."""

    made: list["Recorder"] = []  # noqa: RUF012 - the test's own notes

    def __init__(self, setup: ExecutorSetup) -> None:
        super().__init__(setup.codec, max_threads=1)
        self.calls: list[str] = []
        self.steps: list[str] = []
        self.made.append(self)
        self._plain: Codec = setup.codec

    async def start(self) -> None:
        self.steps.append("start")

    async def stop(self) -> None:
        self.steps.append("stop")
        await super().stop()

    async def run(self, call: Call) -> Outcome:
        self.calls.append(call.listener)
        if self._plain.decode(call.payload).number == 13:
            raise LookupError("no such machine")
        return await super().run(call)


@pytest.fixture
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that offers `recorder`."""
    info = tmp_path / "somebody_elses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody-elses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[celery_pump.executors]\nrecorder = {__name__}:Recorder\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    Recorder.made.clear()


@pytest.mark.usefixtures("_plugin")
async def test_another_packages_executor_is_used_by_its_name() -> None:
    """It starts and stops with the pump, and runs what asks for it and nothing else."""
    pump = StreamPump(name="o")
    pump.register("there", double, Ask, executor="recorder")
    pump.register("here", double, Ask)
    async with pump:
        assert await pump.request("there", Ask(2)) == Ask(4)
        assert await pump.request("here", Ask(3)) == Ask(6)
    (recorder,) = Recorder.made
    assert recorder.calls == ["there"]
    assert recorder.steps == ["start", "stop"]


@pytest.mark.usefixtures("_plugin")
async def test_it_may_serve_all_cpu_bound_handlers() -> None:
    """`executor:` of the organism stands for the usual place."""
    pump = StreamPump(Organism("o", executor="recorder"))
    pump.register("there", double, Ask, cpu_bound=True)
    async with pump:
        assert await pump.request("there", Ask(2)) == Ask(4)
    assert Recorder.made[0].calls == ["there"]


@pytest.mark.usefixtures("_plugin")
async def test_an_executor_that_raises_has_lost_the_call() -> None:
    """Its caller is told; the pump goes on."""
    pump = StreamPump(name="o")
    pump.register("there", double, Ask, executor="recorder")
    async with pump:
        with pytest.raises(HandlerError, match="no such machine") as caught:
            await pump.request("there", Ask(13), timeout_s=10)
        assert caught.value.code == "worker_lost"
        assert await pump.request("there", Ask(1)) == Ask(2)


@pytest.mark.usefixtures("_plugin")
async def test_an_unknown_executor_names_the_known() -> None:
    """Before any message is taken."""
    pump = StreamPump(name="o")
    pump.register("there", double, Ask, executor="recoder")
    known = "'recoder' is not installed; there are: celery, inline, process_pool, recorder"
    with pytest.raises(ConfigError, match=known):
        await pump.start()
