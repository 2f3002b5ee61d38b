"""The Celery executor fulfils the contract, with real workers over a real Redis."""

import asyncio
import inspect
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from uuid import uuid4

import pytest
import redis

from backends import create_backend
from backends.codec import Codec
from backends.errors import BackendUnavailableError
from backends.protocol import Backend
from pipeline import HandlerMetadata
from pipeline.errors import NoAnswerError, PipelineError, PumpStoppedError
from pipeline.executors import Executor
from pipeline.messages import ErrorCode
from pipeline.organism import Organism
from pipeline.organism_file import load_organism
from pipeline.worker import Call
from tasks.executor import CeleryExecutor
from tests.conformance import executor_handlers as handlers
from tests.conformance.executor_contract import METADATA, ExecutorContract
from tests.conformance.executor_handlers import Result, Task
from tests.fleet import LEASE_S, Worker, app_as, is_alive, running_worker, write_organism
from tests.proxy import running_proxy
from tests.servers import RedisServer, free_port
from tests.sockets import own_connections
from tests.waiting import eventually

#: Limits that the suite asks for; a worker takes them from its own organism.
TIMEOUTS_S = (None, 0.3, 60)
#: Resident MiB of a process that has room for `grow`'s first runs, not for many.
MAX_MEMORY_MB = 400


def name_of(handler: Callable[..., Any], timeout_s: float | None = None) -> str:
    return handler.__name__ if timeout_s is None else f"{handler.__name__}.{timeout_s:g}"


def listeners() -> list[dict[str, Any]]:
    """Every handler of the suite, under each of the limits."""
    found = [
        function
        for _, function in inspect.getmembers(handlers, inspect.isfunction)
        if function.__module__ == handlers.__name__
    ]
    return [
        {
            "name": name_of(handler, timeout_s),
            "handler": f"{handlers.__name__}.{handler.__name__}",
            "payload_class": f"{handlers.__name__}.Task",
            "cpu_bound": True,
            **({} if timeout_s is None else {"timeout_s": timeout_s}),
        }
        for handler in found
        for timeout_s in TIMEOUTS_S
    ]


class CeleryContract(ExecutorContract):
    sections: ClassVar[dict[str, dict[str, Any]]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def organism_file(
        cls, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Path]:
        prefix = f"test-{uuid4().hex}:"
        folder = tmp_path_factory.mktemp("organism")
        yield write_organism(
            folder / "organism.yaml", redis_server.url, prefix, listeners(), **cls.sections
        )
        client = redis.Redis.from_url(redis_server.url)
        for pattern in (f"{prefix}*", f"celery.{prefix}*"):
            for key in client.scan_iter(match=pattern, count=1000):
                client.delete(key)
        client.close()

    @pytest.fixture(scope="class")
    @classmethod
    def worker(cls, organism_file: Path) -> Iterator[Worker]:
        with running_worker(organism_file) as worker:
            yield worker

    @pytest.fixture
    def organism(self, organism_file: Path) -> Organism:
        return load_organism(organism_file)

    @pytest.fixture
    def backend(self, organism: Organism) -> Backend:
        return create_backend(organism.backend)

    @pytest.fixture
    def codec(self, organism: Organism) -> Codec:
        codec = Codec(keys=organism.serialization.signing_key, realm=organism.backend.redis_prefix)
        codec.types.declare_module(handlers)
        return codec

    @pytest.fixture
    async def executor(
        self, organism: Organism, codec: Codec, worker: Worker
    ) -> AsyncIterator[CeleryExecutor]:
        executor = CeleryExecutor(organism, codec)
        await executor.start()
        yield executor
        await executor.stop()

    def listener_of(self, handler: Callable[..., Any], **settings: Any) -> str:
        return name_of(handler, settings.get("timeout_s"))

    async def test_the_metadata_arrives(self, executor: Executor, codec: Codec) -> None:
        """What a message says; what the organism says the worker knows by itself."""
        metadata = HandlerMetadata("thread-7", "describe", attempt=3)
        told = await self.answer(executor, codec, handlers.describe, metadata=metadata)
        assert told == Result(3, ["thread-7", "describe", "None", "True", ""])


class TestOverRedis(CeleryContract):
    """Without a signing key."""

    sections: ClassVar[dict[str, dict[str, Any]]] = {"serialization": {"signing_key": []}}

    async def test_a_handler_that_kills_its_process(self, executor: Executor, codec: Codec) -> None:
        """It is tried as often as the organism says; then its call fails, and no other."""
        killer = asyncio.create_task(self.failure(executor, codec, handlers.kill_own_process))
        others = [self.answer(executor, codec, handlers.double, Task(n)) for n in range(50)]
        assert [each.number for each in await asyncio.gather(*others)] == [n * 2 for n in range(50)]
        failed = await killer
        assert failed.error.code == ErrorCode.WORKER_LOST
        assert failed.error.message == "kill_own_process killed its worker 3 times (SIGKILL)"

    async def test_a_killed_child_is_noticed_by_its_worker(
        self, executor: Executor, codec: Codec, tmp_path: Path
    ) -> None:
        """SIGKILL from outside, once: the call runs again."""
        gate = tmp_path / "gate"
        call = self.answer(executor, codec, handlers.block_for_file, Task(1, str(gate)))
        running = asyncio.create_task(call)
        first = await _blocked_by(gate)
        os.kill(first, signal.SIGKILL)
        assert await _blocked_by(gate) != first
        gate.touch()
        assert await running == Result(1)

    async def test_a_handler_that_cannot_be_stopped(
        self, executor: Executor, codec: Codec, organism_file: Path
    ) -> None:
        """It swallows the exception: its process ends, its call ran out of time all the same."""
        with watching(organism_file) as seen:
            failed = await self.failure(executor, codec, handlers.swallow_everything, timeout_s=0.3)
            assert failed.error.code == ErrorCode.TIMEOUT
            # Who watches is told before the process ends.
            assert await asyncio.to_thread(eventually, lambda: "task-failed" in seen)
        assert await self.answer(executor, codec, handlers.double) == Result(42)

    @pytest.mark.parametrize(
        ("handler", "text"),
        [
            (handlers.interrupt, "KeyboardInterrupt"),
            (handlers.close_generator, "GeneratorExit"),
            (handlers.leave_from_beside, "SystemExit: 4"),
            (handlers.cancel_own_task, "asyncio.exceptions.CancelledError"),
        ],
    )
    async def test_not_even_an_interrupt_ends_the_process(
        self, executor: Executor, codec: Codec, handler: Callable[..., Any], text: str
    ) -> None:
        """What a handler raises is its caller's to know, in whatever task of the loop."""
        failed = await self.failure(executor, codec, handler)
        assert (failed.error.code, failed.error.message) == (ErrorCode.RAISED, text)
        assert await self.answer(executor, codec, handlers.double) == Result(42)

    async def test_a_handler_that_forks_and_comes_back_twice(
        self, executor: Executor, codec: Codec
    ) -> None:
        """The copy ends there: it holds no claim of its own, and no place in the pool."""
        async with asyncio.timeout(30):
            told = await self.answer(executor, codec, handlers.come_back_twice)
        pid, copy = map(int, told.words)
        assert copy
        assert not is_alive(copy)
        assert is_alive(pid)

    async def test_an_outcome_that_is_none_of_ours_keeps_back_no_others(
        self, executor: CeleryExecutor, codec: Codec, organism: Organism, redis_client: redis.Redis
    ) -> None:
        """Calls go on being answered, whatever somebody else wrote into their stream."""
        assert await self.answer(executor, codec, handlers.double) == Result(42)
        assert executor._reader is not None
        stream = f"{organism.backend.redis_prefix}s:{executor._reader.stream}"
        for dispatch_id, outcome in (("x", b"forged"), (b"\xff", b"")):
            redis_client.xadd(stream, {"i": dispatch_id, "o": outcome})
        redis_client.xadd(stream, {"i": "x"})
        async with asyncio.timeout(20):
            assert await self.answer(executor, codec, handlers.double) == Result(42)

    @pytest.mark.parametrize("gone", ["*", "l:[cd]*"])
    async def test_a_call_that_redis_has_lost_is_sent_again(  # noqa: PLR0913, PLR0917 - fixtures
        self,
        executor: Executor,
        codec: Codec,
        organism: Organism,
        redis_client: redis.Redis,
        tmp_path: Path,
        gone: str,
    ) -> None:
        """Whoever runs it comes too late; nobody waits for an outcome that can't come."""
        gate = tmp_path / "gate"
        call = self.answer(executor, codec, handlers.block_for_file, Task(1, str(gate)))
        running = asyncio.create_task(call)
        first = await _blocked_by(gate)
        for key in redis_client.scan_iter(match=f"{organism.backend.redis_prefix}{gone}"):
            redis_client.delete(key)
        assert await _blocked_by(gate) != first
        gate.touch()
        async with asyncio.timeout(20):
            assert await running == Result(1)

    async def test_calls_that_follow_one_that_found_no_redis(
        self, organism: Organism, codec: Codec, worker: Worker, redis_server: RedisServer
    ) -> None:
        """Those that began with it fail as well; they keep back none that comes later."""
        with running_proxy(free_port()) as proxy:
            url = organism.backend.redis_url.replace(f":{redis_server.port}", f":{proxy.port}")
            backend = replace(organism.backend, redis_url=url)
            executor = CeleryExecutor(replace(organism, backend=backend), codec)
            await executor.start()
            calls = [self.answer(executor, codec, handlers.double) for _ in range(2)]
            async with asyncio.timeout(30):
                failures = await asyncio.gather(*calls, return_exceptions=True)
                assert [type(each) for each in failures] == [BackendUnavailableError] * 2
                proxy.lead_to(redis_server.port)
                assert await self.answer(executor, codec, handlers.double) == Result(42)
                await executor.stop()

    async def test_a_call_that_can_not_be_sent_keeps_back_no_others(
        self, executor: Executor, codec: Codec
    ) -> None:
        """Whoever made it is told."""
        metadata = HandlerMetadata("\ud800", "nobody")
        async with asyncio.timeout(20):
            with pytest.raises(ValueError, match="surrogates not allowed"):
                await self.answer(executor, codec, handlers.double, metadata=metadata)
            assert await self.answer(executor, codec, handlers.double) == Result(42)

    async def test_stopping_tells_whoever_waits(
        self, executor: Executor, codec: Codec, tmp_path: Path
    ) -> None:
        """What a worker still runs nobody will hear of."""
        gate = tmp_path / "gate"
        call = self.call(executor, codec, handlers.block_for_file, Task(1, str(gate)))
        running = asyncio.create_task(call)
        await _blocked_by(gate)
        await executor.stop()
        gate.touch()
        async with asyncio.timeout(20):
            with pytest.raises(PumpStoppedError, match="'block_for_file'"):
                await running

    async def test_the_reader_outlives_a_stream_that_is_none(
        self, executor: CeleryExecutor, codec: Codec, organism: Organism, redis_client: redis.Redis
    ) -> None:
        """Somebody put something else in its place: it goes on as soon as that is gone."""
        assert await self.answer(executor, codec, handlers.double) == Result(42)
        reader = executor._reader
        assert reader is not None
        stream = f"{organism.backend.redis_prefix}s:{reader.stream}"
        redis_client.delete(stream)
        redis_client.set(stream, "no stream")
        assert await asyncio.to_thread(eventually, lambda: reader._ledger.contact.is_lost)
        redis_client.delete(stream)
        async with asyncio.timeout(20):
            assert await self.answer(executor, codec, handlers.double) == Result(42)

    async def test_a_process_keeps_one_event_loop(self, executor: Executor, codec: Codec) -> None:
        """What a handler keeps for its loop is good for the next call."""
        seen = await asyncio.gather(
            *(self.answer(executor, codec, handlers.tell_loop) for _ in range(20))
        )
        # Two processes may have theirs at one address.
        loops = {(result.number, *result.words) for result in seen}
        assert len(loops) == len({result.number for result in seen})

    async def test_a_thousand_calls_at_once(
        self, executor: Executor, codec: Codec, redis_server: RedisServer
    ) -> None:
        """No connection and no thread for each: three to Redis, two to the broker."""
        client = redis.Redis.from_url(redis_server.url)
        calls = [
            asyncio.create_task(self.answer(executor, codec, handlers.double, Task(n)))
            for n in range(1000)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        mine = own_connections(client)
        threads = len(list(Path("/proc/self/task").iterdir()))
        answers = await asyncio.gather(*calls)
        client.close()
        assert [answer.number for answer in answers] == [n * 2 for n in range(1000)]
        assert len(mine) <= 13, mine
        assert threads <= 20

    async def test_a_listener_nobody_knows(self, executor: Executor, codec: Codec) -> None:
        """It is refused here, before anything is recorded."""
        with pytest.raises(PipelineError, match="no listener 'nobody'"):
            await executor.run(Call("nobody", handlers.double, b"", METADATA))


class TestSigned(CeleryContract):
    """With a signing key, and a process replaced after every third message."""

    sections: ClassVar[dict[str, dict[str, Any]]] = {
        "process_pool": {"workers": 2, "max_tasks_per_child": 3},
        "celery": {"max_memory_mb": MAX_MEMORY_MB, "lease_s": LEASE_S},
    }

    async def test_a_call_that_no_worker_can_verify(
        self, organism: Organism, worker: Worker
    ) -> None:
        """Its record is refused again and again: whoever asked is told, and what to look for."""
        codec = Codec(keys=["another key"], realm=organism.backend.redis_prefix)
        codec.types.declare_module(handlers)
        executor = CeleryExecutor(organism, codec)
        await executor.start()
        async with asyncio.timeout(30):
            with pytest.raises(NoAnswerError, match="'double' 3 times .* refuses its record"):
                await self.call(executor, codec, handlers.double)
            await executor.stop()
            # Said once it is set aside, which the caller may hear of first.
            assert await asyncio.to_thread(
                eventually, lambda: worker.log.count("record refused") == 3
            ), worker.log

    async def test_a_child_is_replaced_after_its_time(
        self, executor: Executor, codec: Codec
    ) -> None:
        """`max_tasks_per_child` messages, then another process; no call is lost."""
        pids = [(await self.answer(executor, codec, handlers.tell_pid)).number for _ in range(7)]
        assert len(set(pids)) >= 3
        assert max(map(pids.count, pids)) <= 3

    async def test_a_child_that_grew_is_replaced(self, executor: Executor, codec: Codec) -> None:
        """Above `max_memory_mb` the process ends after its call."""
        grown = await self.answer(executor, codec, handlers.grow, Task(MAX_MEMORY_MB))
        assert await asyncio.to_thread(eventually, lambda: not is_alive(grown.number))
        assert (await self.answer(executor, codec, handlers.tell_pid)).number != grown.number


@contextmanager
def watching(organism: Path) -> Iterator[set[str]]:
    """A monitor; the kinds of events of tasks that it has been told of so far."""
    seen: set[str] = set()
    app = app_as("monitor", organism)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": lambda e: seen.add(e["type"])})
        thread = Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
        thread.start()
        try:
            yield seen
        finally:
            receiver.should_stop = True
            thread.join()


async def _blocked_by(gate: Path) -> int:
    """The process in which a handler now waits for *gate*; asked once for each run."""
    mark = gate.with_name(f"{gate.name}.1")

    def is_written() -> bool:
        return mark.exists() and bool(mark.read_text())

    assert await asyncio.to_thread(eventually, is_written, timeout_s=30)
    pid = int(mark.read_text())
    mark.unlink()
    return pid
