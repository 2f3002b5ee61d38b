"""Ports for servers that we start: kept for them until they listen."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def kept_port(usual: int) -> Iterator[int]:
    """A port of 127.0.0.1 that nobody else gets this way: *usual*, or another if it is taken.

    A server that we start there may take seconds until it listens.

    Raises:
        ClickException: no port is free.
    """
    for port in (usual, 0):
        with socket.socket() as keeper:
            try:
                keeper.bind(("127.0.0.1", port))
            except OSError:
                continue
            free: int = keeper.getsockname()[1]
            if sys.platform == "linux":
                # Then another that sets it, as servers do, may bind the port and listen. Whoever
                # asks as above is refused.
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                keeper.close()
            yield free
            return
    raise click.ClickException("no port is free on 127.0.0.1")
