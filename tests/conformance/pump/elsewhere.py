"""`cpu_bound` handlers: in another process, and in the same conversation."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import (
    Gathered,
    HandlerError,
    HandlerMetadata,
    HandlerResponse,
    get_context_buffer,
)
from pipeline.events import DeadLettered, Event, HandlerFailed
from tests.conformance import executor_handlers as handlers
from tests.conformance.executor_handlers import Result, Task
from tests.conformance.pump.base import OpenPump, PumpContract


def elsewhere(handler: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A listener over *handler* in another process."""
    return handler, {"cpu_bound": True, "payload_class": Task, **settings}


async def ask(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    """Have `worker` do it; pass the answer on."""
    if isinstance(payload, Result):
        return HandlerResponse.respond(payload)
    return HandlerResponse(payload, to="worker")


class Elsewhere(PumpContract):
    async def test_cpu_bound_handlers_run_in_other_processes(self, open_pump: OpenPump) -> None:
        """Between hops on the loop, on the thread they were called on."""
        pump = await open_pump(
            {
                "ask": (ask, {"payload_class": Task}),
                "worker": elsewhere(handlers.tell_pid),
                "reader": elsewhere(handlers.read_thread),
                "waits": elsewhere(handlers.double),
            }
        )
        told = await pump.request("ask", Task())
        assert told.number != os.getpid()
        assert await pump.request("waits", Task(4)) == Result(8)
        seen = await pump.request("reader", Task(5), thread_id="t")
        assert seen == Result(1, ["system.test.@t.external.reader", "external:5"])
        assert get_context_buffer().get_thread("t")[-1].payload == seen

    async def test_a_vanished_handler_answers_its_caller(self, open_pump: OpenPump) -> None:
        """Its process died with it; after its retries the message is a dead letter."""
        pump = await open_pump(
            {
                "ask": (ask, {"payload_class": Task}),
                "worker": elsewhere(handlers.kill_own_process, retries=1, backoff_s=0.0),
                "other": elsewhere(handlers.double),
            }
        )
        seen: list[Event] = []
        pump.subscribe(seen.append)
        with pytest.raises(HandlerError, match="the process that ran worker died") as caught:
            await pump.request("ask", Task())
        assert (caught.value.code, caught.value.attempt) == ("worker_lost", 2)
        failed = [event.will_retry for event in seen if isinstance(event, HandlerFailed)]
        assert failed == [True, False]
        (dead,) = [event for event in seen if isinstance(event, DeadLettered)]
        assert (dead.listener, dead.attempt, dead.error.code) == ("worker", 2, "worker_lost")
        assert await pump.request("other", Task(1)) == Result(2)

    async def test_a_gather_outlives_its_members_processes(
        self, open_pump: OpenPump, tmp_path: Path
    ) -> None:
        """One kills its process, one runs out of time; the others' answers are there."""
        gathered: list[Gathered] = []

        async def scatterer(payload: Any, metadata: HandlerMetadata) -> HandlerResponse | None:
            if isinstance(payload, Gathered):
                gathered.append(payload)
                return None
            never = str(tmp_path / "never")
            return HandlerResponse.scatter(
                [Task(n, never if n == 2 else "") for n in range(4)], to="member"
            )

        pump = await open_pump(
            {
                "scatterer": (scatterer, {"payload_class": Task}),
                "member": elsewhere(handlers.meet_trouble, timeout_s=1.0),
            }
        )
        await pump.inject("scatterer", Task())
        await pump.join()
        (only,) = gathered
        assert only.results == [Result(0), None, None, Result(3)]
        assert {index: error.code for index, error in only.errors.items()} == {
            1: "worker_lost",
            2: "timeout",
        }
        assert all(isinstance(error, HandlerError) for error in only.errors.values())

    async def test_one_may_join_a_running_pump(self, open_pump: OpenPump) -> None:
        """Registered late, it gets its processes with its first message."""
        pump = await open_pump({"ask": (ask, {"payload_class": Task})})
        pump.register("worker", handlers.double, Task, cpu_bound=True)
        assert await pump.request("ask", Task(6)) == Result(12)
