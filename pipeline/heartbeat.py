"""Shows from outside that a process gets around: by a file's age, and to systemd's watchdog.

Whoever beats must do so from what would stand still in a hang: the event loop, the main
thread. Nothing here asks a server, so that an outage is no hang.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from backends.cancelling import cancel_all

log = logging.getLogger(__name__)

#: Seconds between two beats. Whoever judges them should allow for several, and for the
#: longest stretch that a handler may hold the loop.
BEAT_S = 1.0


class Heartbeat:
    """One process's beats; harmless where nobody wants any.

    Args:
        path: the file that every beat touches; None is no file.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._watchdog = _watchdog()
        self._has_failed = False

    @property
    def is_wanted(self) -> bool:
        """True when somebody looks."""
        return bool(self._path or self._watchdog)

    def clear(self) -> None:
        """Before the first beat: see that the file can be written, and leave none.

        One that a former process left would tell of that process.

        Raises:
            OSError: it can't.
        """
        if self._path is not None:
            # Beside it: a probe that looks meanwhile must not take it for a beat.
            TemporaryFile(dir=self._path.parent).close()
            self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Show that this process gets around. Never raises: silence says it as well."""
        try:
            if self._path is not None:
                self._path.touch()
            self._has_failed = False
        except OSError as exc:
            if not self._has_failed:
                log.warning("no heartbeat", extra={"action": "beat", "reason": str(exc)})
            self._has_failed = True
        if self._watchdog:
            _tell(self._watchdog)

    def end(self) -> None:
        """Leave no file."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


@asynccontextmanager
async def loop_heartbeat(path: Path | None) -> AsyncIterator[Callable[[], None]]:
    """Beat from the running event loop until the end of this block; call what it gives to begin."""
    heartbeat = Heartbeat(path)
    tasks: list[asyncio.Task[None]] = []

    def begin() -> None:
        if heartbeat.is_wanted:
            tasks.append(asyncio.create_task(_beat_on(heartbeat), name="heartbeat"))

    try:
        yield begin
    finally:
        await cancel_all(tasks)
        heartbeat.end()


async def _beat_on(heartbeat: Heartbeat) -> None:
    while True:
        heartbeat.beat()
        await asyncio.sleep(BEAT_S)


def _watchdog() -> str:
    """Where systemd wants to hear from this very process; empty if it does not."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    is_ours = os.environ.get("WATCHDOG_PID", "") == str(os.getpid())
    return address if is_ours and os.environ.get("WATCHDOG_USEC") else ""


def _tell(address: str) -> None:
    """Source: sd_notify(3); a first @ stands for the abstract namespace."""
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
        to_systemd.setblocking(False)  # noqa: FBT003 - positional only
        to_systemd.sendto(b"WATCHDOG=1", address)
