"""How the backend suite opens backends, lets time pass and runs many writers at once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any, Protocol

import pytest

from backends import BackendConfig, BufferFullError, SharedBackend, ThreadLimitError
from backends.protocol import Backend

WRITERS = 8
SLOTS_PER_WRITER = 25

Job = Callable[[SharedBackend, int], Any]


class OpenBackend(Protocol):
    """Opens a backend over the implementation's data; the fixture closes it."""

    def __call__(self, **settings: Any) -> Backend: ...


def append_slots(backend: SharedBackend, writer: int) -> list[tuple[int, bytes]]:
    """Append to one thread; what was written, by the index it got."""
    slots = [f"{writer}/{n}".encode() for n in range(SLOTS_PER_WRITER)]
    return [(backend.buffer_append("shared", slot), slot) for slot in slots]


def open_threads(backend: SharedBackend, writer: int) -> int:
    """Open threads until the limit; how many were admitted."""
    admitted = 0
    for n in range(5):
        try:
            backend.buffer_append(f"{writer}/{n}", b"")
        except ThreadLimitError:
            continue
        admitted += 1
    return admitted


def fill_thread(backend: SharedBackend, writer: int) -> int:
    """Append to one thread until it is full; how many slots were stored."""
    stored = 0
    for _ in range(5):
        try:
            backend.buffer_append("shared", b"")
        except BufferFullError:
            continue
        stored += 1
    return stored


CHAINS = [f"chain.{n}" for n in range(3)]


def relink(backend: SharedBackend, writer: int) -> None:
    """Fight over a few links: make, remake and delete them."""
    for n in range(20):
        backend.registry_set(CHAINS[(writer + n) % 3], f"uuid-{n % 4}")
        if n % 5 == writer % 5:
            backend.registry_delete(f"uuid-{(n + writer) % 4}")


class BackendHooks:
    """Subclasses supply `open_backend`, and say how time passes for them."""

    #: Seconds; long enough that a busy machine can look twice within it.
    ttl_s = 1.5

    @pytest.fixture
    def open_backend(self) -> Iterator[OpenBackend]:
        """Opens backends with a time to live of `ttl_s` unless told otherwise."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, open_backend: OpenBackend) -> Backend:
        return open_backend(redis_ttl=3600)

    @pytest.fixture
    def mortal(self, open_backend: OpenBackend) -> Backend:
        return open_backend()

    def elapse(self, seconds: float) -> None:
        """Let time pass where the data lives."""
        time.sleep(seconds)

    def in_parallel(self, backend: Backend, job: Job) -> list[Any]:
        """Run *job* in `WRITERS` writers that begin together; their results."""
        barrier = Barrier(WRITERS)

        def run(writer: int) -> Any:
            barrier.wait(10)
            return job(backend, writer)

        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(run, range(WRITERS)))

    def is_gone(self, backend: SharedBackend, thread_id: str) -> bool:
        """True when nothing of the thread is left, whichever way one asks."""
        return (
            not backend.buffer_thread_exists(thread_id)
            and backend.buffer_get_thread(thread_id) == []
            and backend.buffer_thread_len(thread_id) == 0
            and backend.buffer_get_slot(thread_id, 0) is None
            and thread_id not in backend.buffer_list_threads()
            and backend.registry_get_chain(thread_id) is None
            and thread_id not in backend.registry_list_all()
        )


def opener(make: Callable[[BackendConfig], Backend], base: BackendConfig) -> Iterator[OpenBackend]:
    """Yields what opens backends with settings upon *base*, and closes them all."""
    opened: list[Backend] = []

    def open_backend(**settings: Any) -> Backend:
        opened.append(make(replace(base, **settings)))
        return opened[-1]

    yield open_backend
    for backend in opened:
        backend.close()
