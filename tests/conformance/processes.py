"""Runs one job in many processes that share a backend."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from backends import BackendConfig, SharedBackend, create_backend
from tests.conformance.backend_hooks import WRITERS


@contextmanager
def writer_processes() -> Iterator[ProcessPoolExecutor]:
    """A pool of `WRITERS` processes, none of them forked from a process with threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conformance.backend_hooks"])
    with ProcessPoolExecutor(WRITERS, mp_context=context) as pool:
        yield pool


def run_in_processes(
    pool: ProcessPoolExecutor, config: BackendConfig, job: Callable[[SharedBackend, int], Any]
) -> list[Any]:
    """Run *job* in every process, each with a backend of its own; their results."""
    futures = [pool.submit(_run, config, job, writer) for writer in range(WRITERS)]
    return [future.result(60) for future in futures]


def _run(config: BackendConfig, job: Callable[[SharedBackend, int], Any], writer: int) -> Any:
    backend = create_backend(config)
    try:
        return job(backend, writer)
    finally:
        backend.close()
