"""Where lines come from and where answers go: files, pipes and terminals, by descriptor.

Reads and writes block, so they run in threads; a read that waits can be woken.
"""

import asyncio
import os
import select
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from pipeline.cli.jsonl import Line, LineSplitter

#: What stands for stdin and stdout.
STANDARD = "-"
#: Bytes read at once; what is cut into lines ahead of the pump is never more than this.
CHUNK_BYTES = 64 * 1024


class Source:
    """Lines from a descriptor, read as they are asked for.

    Args:
        fd: not closed here.
        max_line_bytes: a longer line comes without its data.
    """

    def __init__(self, fd: int, *, max_line_bytes: int) -> None:
        self._fd = fd
        self._max_line_bytes = max_line_bytes
        self._wake_reader, self._wake_writer = os.pipe()
        self.is_terminal = os.isatty(fd)
        self._is_file = is_file(fd)
        #: Bytes there are to read; None unless it is a file.
        self.size = os.fstat(fd).st_size - os.lseek(fd, 0, os.SEEK_CUR) if self._is_file else None

    def close(self) -> None:
        """Release what this object has opened."""
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def wake(self) -> None:
        """Wait for no more input: what does not come from a file ends here."""
        os.write(self._wake_writer, b"\0")

    async def lines(self) -> AsyncIterator[Line]:
        """Every line; reads no further than it is asked to.

        Raises:
            OSError: the descriptor can't be read.
        """
        splitter = LineSplitter(max_bytes=self._max_line_bytes)
        while chunk := await asyncio.to_thread(self._read):
            for line in splitter.feed(chunk):
                yield line
        for line in splitter.end():
            yield line

    def _read(self) -> bytes:
        if not self._is_file:
            waiting = select.poll()
            waiting.register(self._wake_reader, select.POLLIN)
            waiting.register(self._fd, select.POLLIN)
            if self._wake_reader in dict(waiting.poll()):
                return b""
        return os.read(self._fd, CHUNK_BYTES)


class Sink:
    """Takes answers.

    Args:
        fd: not closed here.
        is_ours: we opened it, so what it held gives way to the answers.
    """

    def __init__(self, fd: int, *, is_ours: bool) -> None:
        self._fd = fd
        self._is_ours = is_ours
        self.is_terminal = os.isatty(fd)

    def clear(self) -> None:
        """Drop what a file of ours held before."""
        if self._is_ours and is_file(self._fd):
            os.ftruncate(self._fd, 0)

    def write(self, data: bytes) -> None:
        """Write all of *data*; blocks until it is taken.

        Raises:
            BrokenPipeError: whoever read it is gone.
            OSError: it can't be written.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def is_file(fd: int) -> bool:
    """True for a regular file."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def are_same_file(one: int, other: int) -> bool:
    """True when both descriptors lead to one regular file."""
    return is_file(one) and os.path.samestat(os.fstat(one), os.fstat(other))


@contextmanager
def opened_input(path: str) -> Iterator[int]:
    """A descriptor of *path* to read from; `-` is stdin.

    Raises:
        OSError: it can't be read.
    """
    if path == STANDARD:
        yield _descriptor(sys.stdin)
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise IsADirectoryError(None, "Is a directory")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_output(path: str) -> Iterator[int]:
    """A descriptor of *path* to write to, its content untouched; `-` is stdout.

    Raises:
        OSError: it can't be written.
    """
    if path == STANDARD:
        with _own_stdout() as fd:
            yield fd
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _own_stdout() -> Iterator[int]:
    """Stdout for answers alone: what handlers print goes to stderr meanwhile."""
    shared = _descriptor(sys.stdout)
    sys.stdout.flush()
    fd = os.dup(shared)
    try:
        if sys.stderr is not None:
            os.dup2(sys.stderr.fileno(), shared)
        yield fd
    finally:
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        os.dup2(fd, shared)
        os.close(fd)


def _descriptor(stream: object) -> int:
    """The descriptor of a standard stream.

    Raises:
        OSError: it is closed.
    """
    if stream is None:
        raise OSError(None, "It is closed")
    fd: int = stream.fileno()  # type: ignore[attr-defined]
    return fd
