"""The contract every executor fulfils."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pipeline.worker import Call, Outcome


class Executor(Protocol):
    """Runs handlers somewhere. Used from one event loop."""

    @property
    def places(self) -> int | None:
        """How many calls it can make use of at once; None leaves that to the pump."""
        ...

    async def start(self) -> None:
        """Get ready to run; calling it again does nothing.

        Raises:
            PipelineError: it can't, and why.
        """
        ...

    async def run(self, call: Call) -> Outcome:
        """Run one handler to its end.

        Whatever the handler does (raise, run out of time, kill its process, return
        what can't be sent) becomes an outcome; it never harms another call.
        Cancelling this coroutine abandons the call.
        """
        ...

    async def stop(self) -> None:
        """End at once whatever still runs, and leave no thread or process behind."""
        ...


@runtime_checkable
class Dispatcher(Executor, Protocol):
    """An executor whose workers are elsewhere: hops reach it by the mailbox's ledger."""

    @property
    def batch_sizes(self) -> Mapping[int, int]:
        """How many messages it has sent to its workers, by how many calls each carried."""
        ...

    def wake(self) -> None:
        """There may be dispatches to publish. Safe from any thread."""
        ...

    def observe(self, listener: str, duration_s: float) -> None:
        """A handler of *listener* ran for so long, wherever it was."""
        ...
