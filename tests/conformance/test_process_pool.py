"""The process pool fulfils the contract, over every backend that it may serve."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backends import BackendConfig, ManagerBackend
from backends.codec import Codec
from backends.protocol import Backend
from pipeline.executors import ProcessPoolExecutor
from pipeline.executors.pool_child import ChildSetup
from pipeline.executors.process_pool import PoolStartError
from pipeline.messages import ErrorCode
from pipeline.worker import Completed
from tests.conformance import executor_handlers as handlers
from tests.conformance.executor_contract import ExecutorContract
from tests.conformance.executor_handlers import Task
from tests.waiting import eventually

WORKERS = 2


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def pool(backend: Backend, *, max_tasks: int = 0, workers: int = WORKERS) -> ProcessPoolExecutor:
    setup = ChildSetup(modules=(handlers.__name__,), backend=backend.lend())
    return ProcessPoolExecutor(setup, workers=workers, max_tasks_per_child=max_tasks)


class ProcessPoolContract(ExecutorContract):
    @pytest.fixture
    async def executor(self, backend: Backend) -> AsyncIterator[ProcessPoolExecutor]:
        executor = pool(backend)
        await executor.start()
        yield executor
        await executor.stop()


class TestOverMemory(ProcessPoolContract):
    async def test_a_killed_child_hits_one_call(
        self, executor: ProcessPoolExecutor, codec: Codec, tmp_path: Path
    ) -> None:
        """SIGKILL from outside: its call fails, the other process's does not."""
        gate = tmp_path / "gate"
        calls = [
            asyncio.create_task(
                self.call(executor, codec, handlers.block_for_file, Task(n, str(gate)))
            )
            for n in range(WORKERS)
        ]
        marks = [tmp_path / f"gate.{n}" for n in range(WORKERS)]
        assert await asyncio.to_thread(eventually, lambda: all(map(_text, marks)))
        os.kill(int(_text(marks[0])), signal.SIGKILL)
        lost = await calls[0]
        assert lost.error.code == ErrorCode.WORKER_LOST  # type: ignore[union-attr]
        assert not calls[1].done()
        gate.touch()
        assert (await calls[1]).duration_s > 0

    async def test_a_call_behind_a_killer_runs_all_the_same(
        self, executor: ProcessPoolExecutor, codec: Codec
    ) -> None:
        """A handler that kills its process takes nothing with it that had not begun."""
        killers = [self.failure(executor, codec, handlers.kill_own_process) for _ in range(10)]
        others = [self.answer(executor, codec, handlers.double, Task(n)) for n in range(30)]
        mixed = [each for group in zip(killers, *[iter(others)] * 3, strict=True) for each in group]
        outcomes = await asyncio.gather(*mixed)
        failures = outcomes[::4]
        assert {failed.error.code for failed in failures} == {ErrorCode.WORKER_LOST}
        assert "the process that ran worker died" in failures[0].error.message
        answers = [each for index, each in enumerate(outcomes) if index % 4]
        assert [answer.number for answer in answers] == [n * 2 for n in range(30)]

    @pytest.mark.parametrize(
        ("handler", "text"),
        [
            (handlers.interrupt, "KeyboardInterrupt"),
            (handlers.close_generator, "GeneratorExit"),
            (handlers.leave_from_beside, "SystemExit: 4"),
            (handlers.cancel_own_task, "asyncio.exceptions.CancelledError"),
        ],
    )
    async def test_not_even_an_interrupt_reaches_the_pump(
        self,
        executor: ProcessPoolExecutor,
        codec: Codec,
        handler: Callable[..., Any],
        text: str,
    ) -> None:
        """What a handler raises is its caller's to know; its process goes on."""
        before = {(await self.answer(executor, codec, handlers.tell_pid)).number for _ in range(4)}
        failed = await self.failure(executor, codec, handler)
        assert (failed.error.code, failed.error.message) == (ErrorCode.RAISED, text)
        pids = [(await self.answer(executor, codec, handlers.tell_pid)).number for _ in range(4)]
        assert set(pids) <= before

    async def test_an_idle_child_that_dies_is_replaced(
        self, backend: Backend, codec: Codec
    ) -> None:
        """Nobody notices but the process table."""
        executor = pool(backend, workers=1)
        try:
            first = await self.answer(executor, codec, handlers.tell_pid)
            os.kill(first.number, signal.SIGKILL)
            second = await self.answer(executor, codec, handlers.tell_pid)
            assert second.number != first.number
        finally:
            await executor.stop()

    async def test_a_child_is_replaced_after_its_time(self, backend: Backend, codec: Codec) -> None:
        """`max_tasks_per_child` calls, then another process; no call is lost on the way."""
        executor = pool(backend, max_tasks=3, workers=1)
        try:
            pids = [
                (await self.answer(executor, codec, handlers.tell_pid)).number for _ in range(7)
            ]
            assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3, 3, 6]
            crowd = await asyncio.gather(
                *(self.answer(executor, codec, handlers.tell_pid) for _ in range(20))
            )
            assert len({result.number for result in crowd}) >= len(crowd) // 3
        finally:
            await executor.stop()
        gone = {*pids, *(result.number for result in crowd)}
        assert await asyncio.to_thread(eventually, lambda: not any(map(is_alive, gone)))

    async def test_stop_leaves_no_process(
        self, executor: ProcessPoolExecutor, codec: Codec, tmp_path: Path
    ) -> None:
        """Idle or in the middle of a call, every child is gone."""
        gate = str(tmp_path / "never")
        running = asyncio.create_task(
            self.call(executor, codec, handlers.block_for_file, Task(1, gate))
        )
        assert await asyncio.to_thread(eventually, lambda: bool(_text(Path(f"{gate}.1"))))
        pid = int(_text(Path(f"{gate}.1")))
        await executor.stop()
        await asyncio.gather(running, return_exceptions=True)
        assert not is_alive(pid)

    async def test_stop_does_not_wait_for_a_call_that_was_given_up(
        self, executor: ProcessPoolExecutor, codec: Codec, tmp_path: Path
    ) -> None:
        """Its task is cancelled, its child runs on: that one is killed like any other."""
        mark = tmp_path / "never.1"
        running = asyncio.create_task(
            self.call(executor, codec, handlers.block_for_file, Task(1, str(tmp_path / "never")))
        )
        assert await asyncio.to_thread(eventually, lambda: bool(_text(mark)))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await executor.stop()
        assert not is_alive(int(_text(mark)))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_a_signal_to_the_process_group_is_the_pumps(
        self, executor: ProcessPoolExecutor, codec: Codec, tmp_path: Path, number: signal.Signals
    ) -> None:
        """A child finishes its work all the same."""
        gate, mark = tmp_path / "gate", tmp_path / "gate.1"
        running = asyncio.create_task(
            self.call(executor, codec, handlers.block_for_file, Task(1, str(gate)))
        )
        assert await asyncio.to_thread(eventually, lambda: bool(_text(mark)))
        os.kill(int(_text(mark)), number)
        gate.touch()
        assert isinstance(await running, Completed)
        assert (await self.answer(executor, codec, handlers.double, Task(2))).number == 4

    async def test_a_child_that_cannot_start_says_why(self, backend: Backend) -> None:
        """The error names the module, before any message is taken."""
        setup = ChildSetup(modules=("no_such_module_here",), backend=backend.lend())
        executor = ProcessPoolExecutor(setup, workers=1, max_tasks_per_child=0)
        with pytest.raises(PoolStartError, match="no_such_module_here"):
            await executor.start()


class TestOverManager(ProcessPoolContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return ManagerBackend(BackendConfig(backend_type="manager"))


class TestSigned(ProcessPoolContract):
    """With a signing key, slots cross to the children signed."""

    @pytest.fixture
    def codec(self) -> Codec:
        codec = Codec(keys=["a key for tests"], realm="test:")
        codec.types.declare_module(handlers)
        return codec

    @pytest.fixture
    async def executor(self, backend: Backend) -> AsyncIterator[ProcessPoolExecutor]:
        setup = ChildSetup(
            modules=(handlers.__name__,),
            backend=backend.lend(),
            signing_keys=("a key for tests",),
            realm="test:",
        )
        executor = ProcessPoolExecutor(setup, workers=WORKERS, max_tasks_per_child=0)
        yield executor
        await executor.stop()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
