"""The console's socket, and what becomes of clients that take nothing."""

import errno
import socket
from contextlib import suppress

import pytest

from pipeline.cli.console import command
from tests.waiting import eventually

linux = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such time-out"
)


@linux
def test_a_client_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system, with all that still waits to be sent to it."""
    monkeypatch.setattr(command, "_STALLED_MS", 300)
    with command._listening("127.0.0.1", 0) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(listener.getsockname())
        taken, _ = listener.accept()
        with taken:
            taken.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    taken.send(bytes(65536))
            assert eventually(
                lambda: taken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
            )
