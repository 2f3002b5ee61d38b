"""Who holds a claim: a worker, and a process of it; and what that process runs right now."""

import mmap
import os
from uuid import uuid4

_VARIABLE = "PUMP_WORKER_ID"
#: Places for notes, and bytes of each; processes that would share a place overwrite it.
_PLACES, _SIZE = 4096, 128


class Notes:
    """A page that a worker's processes share: each writes what it runs, for the day it dies.

    Made by the main process before it forks; without a fork nobody shares it, and nobody knows.
    """

    def __init__(self) -> None:
        self._made_by = os.getpid()
        #: The process that wrote last, and its number of turns: none reads what only it can write.
        self._writer, self._turns = 0, 0
        self._page = mmap.mmap(-1, _PLACES * _SIZE)

    @property
    def is_shared(self) -> bool:
        """True in a process of the pool, false in the main process."""
        return os.getpid() != self._made_by

    def begin(self) -> None:
        """This process is about to claim something."""
        self._write(self._own_turns() | 1, "")

    def running(self, dispatch_id: str) -> None:
        """This process begins to run a dispatch; empty when it has ended."""
        self._write(self._own_turns(), dispatch_id)

    def end(self) -> None:
        """This process has handed in, or given back, all that it had claimed."""
        self._write(self._own_turns() + 1 & ~1, "")

    def of(self, pid: int) -> str | None:
        """What a process was running; empty if that was nothing, None if it told nothing."""
        turns, running = self._read(pid)
        return running if turns or running else None

    def idle_turn(self, pid: int) -> int | None:
        """A number of its own for each time that a process holds no claim; None while it may."""
        turns = self._turns_of(pid)
        return None if turns % 2 or not turns else turns

    def _own_turns(self) -> int:
        if self._writer != os.getpid():
            # A place may have been another's, and what was inherited is the parent's.
            self._writer = os.getpid()
            self._turns = self._turns_of(self._writer)
        return self._turns

    def _turns_of(self, pid: int) -> int:
        """Odd from `begin` to `end`; 0 if it never began."""
        return self._read(pid)[0]

    def _write(self, turns: int, running: str) -> None:
        pid, self._turns = self._writer, turns
        # All of one length, so that who reads meanwhile finds a number where it was.
        note = f"{pid} {turns:015d} {running}".encode()[: _SIZE - 1] + b"\n"
        start = pid % _PLACES * _SIZE
        self._page[start : start + len(note)] = note

    def _read(self, pid: int) -> tuple[int, str]:
        start = pid % _PLACES * _SIZE
        note = self._page[start : start + _SIZE].partition(b"\n")[0]
        owner, turns, running = (*note.split(b" ", 2), b"", b"")[:3]
        if owner != str(pid).encode():
            return 0, ""
        return int(turns), running.decode()


_notes = Notes()


def worker_notes() -> Notes:
    """The page of this process's worker."""
    return _notes


def new_worker_id() -> str:
    """Begin the life of a worker; the processes it starts from now on find its id."""
    os.environ[_VARIABLE] = uuid4().hex
    return os.environ[_VARIABLE]


def owner_id() -> str:
    """This process, as the ledger knows it: `worker/pid`.

    Raises:
        RuntimeError: it is no process of a worker.
    """
    worker = os.environ.get(_VARIABLE)
    if worker is None:
        raise RuntimeError("a handler's task runs outside a worker; start one with `pump worker`")
    return f"{worker}/{os.getpid()}"
