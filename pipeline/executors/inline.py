"""Runs handlers on the event loop, and plain functions in threads beside it."""

from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backends.codec import Codec
from pipeline.worker import Call, Outcome, run_handler


class InlineExecutor:
    """An `Executor` for handlers that wait.

    A coroutine that runs out of time is cancelled. A thread can't be: its call ends
    in time, its thread when the function returns.

    Args:
        max_threads: how many plain functions run at once.
    """

    places = None

    def __init__(self, codec: Codec, *, max_threads: int) -> None:
        self._codec = codec
        self._max_threads = max_threads
        self._threads: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Nothing to get ready: threads start as they are needed."""

    def run(self, call: Call) -> Coroutine[Any, Any, Outcome]:
        """Run one handler here."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._max_threads, thread_name_prefix="handler")
        return run_handler(call, self._codec, threads=self._threads)

    async def stop(self) -> None:
        """Close the thread pool without waiting for functions that don't return."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
