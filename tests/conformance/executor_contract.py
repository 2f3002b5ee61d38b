"""What every executor must do; one suite for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from backends import InMemoryBackend
from backends.codec import Codec
from backends.protocol import Backend, SlotRecord
from pipeline import ContextBuffer, HandlerMetadata
from pipeline.context_buffer import use_context_buffer
from pipeline.executors import Executor
from pipeline.messages import ErrorCode
from pipeline.thread_registry import ThreadRegistry, use_registry
from pipeline.worker import Call, Completed, Failed, Outcome
from tests.conformance import executor_handlers as handlers
from tests.conformance.executor_handlers import Result, Task, Unpicklable
from tests.waiting import eventually

METADATA = HandlerMetadata("thread-1", "external")


class ExecutorContract:
    """Subclasses supply an `executor` fixture over `backend` and `codec`."""

    @pytest.fixture
    def backend(self) -> AsyncIterator[Backend] | Backend:
        return InMemoryBackend()

    @pytest.fixture
    def codec(self) -> Codec:
        codec = Codec()
        codec.types.declare_module(handlers)
        return codec

    @pytest.fixture(autouse=True)
    def ambient(self, backend: Backend, codec: Codec) -> Any:
        """What a pump sets up around an inline handler."""
        use_context_buffer(ContextBuffer(backend, codec))
        use_registry(ThreadRegistry(backend))
        yield
        use_context_buffer(None)
        use_registry(None)
        backend.close()

    def listener_of(self, handler: Callable[..., Any], **settings: Any) -> str:
        """What the listener is called whose handler this is."""
        return "worker"

    async def call(
        self,
        executor: Executor,
        codec: Codec,
        handler: Callable[..., Any],
        payload: Any = None,
        **settings: Any,
    ) -> Outcome:
        data = codec.encode(payload if payload is not None else Task(21))
        metadata = settings.pop("metadata", METADATA)
        listener = self.listener_of(handler, **settings)
        return await executor.run(Call(listener, handler, data, metadata, **settings))

    async def answer(self, *args: Any, **settings: Any) -> Any:
        outcome = await self.call(*args, **settings)
        assert isinstance(outcome, Completed), outcome
        (reply,) = outcome.replies
        assert reply.to is None
        return args[1].decode(reply.payloads[0])

    async def failure(self, *args: Any, **settings: Any) -> Failed:
        outcome = await self.call(*args, **settings)
        assert isinstance(outcome, Failed), outcome
        settings.pop("metadata", None)
        assert outcome.error.listener == self.listener_of(args[2], **settings)
        return outcome

    @pytest.mark.parametrize("handler", [handlers.double, handlers.double_plainly])
    async def test_both_forms_of_handler_run(
        self, executor: Executor, codec: Codec, handler: Callable[..., Any]
    ) -> None:
        """`async def` and plain `def` alike."""
        assert await self.answer(executor, codec, handler) == Result(42)

    async def test_every_form_of_reply_arrives(self, executor: Executor, codec: Codec) -> None:
        """Forward, answer and scatter, in the order returned; None is no reply."""
        outcome = await self.call(executor, codec, handlers.every_form)
        assert isinstance(outcome, Completed)
        assert [(reply.to, reply.is_scatter) for reply in outcome.replies] == [
            ("other", False),
            (None, False),
            ("many", True),
        ]
        payloads = [[codec.decode(data) for data in reply.payloads] for reply in outcome.replies]
        assert payloads == [[Task(1)], [Result(2)], [Task(3), Task(4)]]
        silent = await self.call(executor, codec, handlers.nothing)
        assert isinstance(silent, Completed)
        assert silent.replies == []
        assert silent.duration_s >= 0

    async def test_a_name_of_a_class_of_its_own_arrives(
        self, executor: Executor, codec: Codec
    ) -> None:
        """As a plain string, which all can send."""
        async with asyncio.timeout(30):
            outcome = await self.call(executor, codec, handlers.return_to_name)
        assert isinstance(outcome, Completed)
        assert [(reply.to, type(reply.to)) for reply in outcome.replies] == [("other", str)]

    async def test_no_payload_is_pickled(self, executor: Executor, codec: Codec) -> None:
        """Neither on its way to the handler nor on its way back."""
        payload = Unpicklable(7)
        assert await self.answer(executor, codec, handlers.echo, payload) == payload

    async def test_the_metadata_arrives(self, executor: Executor, codec: Codec) -> None:
        """Every field, as the pump gave it."""
        metadata = HandlerMetadata("thread-7", "asker", "worker", True, "use peers", 3)
        told = await self.answer(executor, codec, handlers.describe, metadata=metadata)
        assert told == Result(3, ["thread-7", "asker", "worker", "True", "use peers"])

    async def test_a_handler_reads_its_own_thread(
        self, executor: Executor, codec: Codec, backend: Backend
    ) -> None:
        """The same conversation, wherever the handler runs."""
        sealed = [
            codec.seal_slot(codec.encode(Task(n)), "thread-1", "asker", "worker") for n in (5, 6)
        ]
        chain = "system.test.@thread-1.asker.worker"
        backend.record([SlotRecord("thread-1", chain, data) for data in sealed])
        seen = await self.answer(executor, codec, handlers.read_thread)
        assert seen == Result(2, [chain, "asker:5", "asker:6"])

    async def test_a_handler_that_raises(self, executor: Executor, codec: Codec) -> None:
        """The caller learns type, text and traceback; it may be retried."""
        failed = await self.failure(executor, codec, handlers.fail)
        assert failed.error.code == ErrorCode.RAISED
        assert failed.error.message == "LookupError: no 21 here"
        assert "executor_handlers.py" in failed.error.traceback
        assert failed.is_retryable

    @pytest.mark.parametrize(
        ("handler", "text"),
        [
            (handlers.leave, "SystemExit: 3"),
            (handlers.stop_all, "StopAll: everything"),
            (handlers.cancel_itself, "CancelledError"),
            (handlers.time_out_by_itself, "TimeoutError: the far end is slow"),
            (handlers.miss_a_file, r"LookupError: no file caf\udce9"),
        ],
    )
    async def test_what_it_raises_may_be_anything(
        self, executor: Executor, codec: Codec, handler: Callable[..., Any], text: str
    ) -> None:
        """Leaving, cancelling or timing out by itself ends the call, not its surroundings."""
        failed = await self.failure(executor, codec, handler, timeout_s=60)
        assert failed.error.code == ErrorCode.RAISED
        assert text in failed.error.message
        assert await self.answer(executor, codec, handlers.double) == Result(42)

    @pytest.mark.parametrize(
        ("handler", "text"),
        [
            (handlers.return_rubbish, "returned int; expected None"),
            (handlers.return_mixed_rubbish, "returned str; expected None"),
            (handlers.return_to_two, "sent to a list; expected a listener's name"),
            (handlers.return_to_half_a_character, "expected a listener's name"),
            (handlers.return_opaque, "Opaque can't be encoded"),
        ],
    )
    async def test_rubbish_is_refused(
        self, executor: Executor, codec: Codec, handler: Callable[..., Any], text: str
    ) -> None:
        """What is no reply, or can't be encoded, is an error that running again won't mend."""
        async with asyncio.timeout(30):
            failed = await self.failure(executor, codec, handler)
        assert failed.error.code == ErrorCode.BAD_RETURN
        assert text in failed.error.message
        assert not failed.is_retryable

    async def test_a_damaged_payload(self, executor: Executor) -> None:
        """Bytes that can't be decoded fail the call before the handler runs."""
        listener = self.listener_of(handlers.double)
        outcome = await executor.run(Call(listener, handlers.double, b"\xc1", METADATA))
        assert isinstance(outcome, Failed)
        assert outcome.error.code == ErrorCode.UNDELIVERABLE
        assert not outcome.is_retryable

    @pytest.mark.parametrize("handler", [handlers.wait_for_file, handlers.block_for_file])
    async def test_a_handler_that_runs_out_of_time(
        self, executor: Executor, codec: Codec, handler: Callable[..., Any], tmp_path: Path
    ) -> None:
        """Its call ends in time; those beside and after it are untouched."""
        never, soon = tmp_path / "never", tmp_path / "soon"
        beside = asyncio.create_task(
            self.answer(executor, codec, handlers.wait_for_file, Task(2, str(soon)))
        )
        failed = await self.failure(executor, codec, handler, Task(1, str(never)), timeout_s=0.3)
        never.touch()
        assert failed.error.code == ErrorCode.TIMEOUT
        listener = self.listener_of(handler, timeout_s=0.3)
        assert failed.error.message == f"{listener} did not finish within timeout_s (0.3 s)"
        assert failed.is_retryable
        soon.touch()
        assert await beside == Result(2)
        assert await self.answer(executor, codec, handlers.double) == Result(42)

    async def test_many_at_once(self, executor: Executor, codec: Codec) -> None:
        """More calls than places: all are answered, each with its own result."""
        results = await asyncio.gather(
            *(self.answer(executor, codec, handlers.double, Task(n)) for n in range(100))
        )
        assert [result.number for result in results] == [n * 2 for n in range(100)]

    async def test_an_abandoned_call(
        self, executor: Executor, codec: Codec, tmp_path: Path
    ) -> None:
        """Cancelling one call leaves the executor fit for the next."""
        gate = tmp_path / "gate"
        running = asyncio.create_task(
            self.call(executor, codec, handlers.wait_for_file, Task(1, str(gate)))
        )
        assert await asyncio.to_thread(eventually, (tmp_path / "gate.1").exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.touch()
        assert await self.answer(executor, codec, handlers.double) == Result(42)

    async def test_stopping_ends_what_runs(
        self, executor: Executor, codec: Codec, tmp_path: Path
    ) -> None:
        """Stop does not wait for handlers, and may be called again."""
        gate = tmp_path / "gate"
        running = asyncio.create_task(
            self.call(executor, codec, handlers.wait_for_file, Task(1, str(gate)))
        )
        assert await asyncio.to_thread(eventually, (tmp_path / "gate.1").exists)
        async with asyncio.timeout(10):
            await executor.stop()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await executor.stop()
        # Where it runs elsewhere, it still waits.
        gate.touch()
