"""`python -m backends.manager`: a store for every process of this machine that knows the key."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from backends.manager.server import StoreServer
from backends.store import MemoryStore

#: Seconds between looks at whether the parent of a private server still lives.
_PARENT_CHECK_S = 0.25


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 0 then, 1 if the address is taken, 2 on bad usage."""
    options = _parse(argv)
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN if options.parent else lambda *_: stop.set())
    try:
        key = _read_key(options.authkey_file)
        server = StoreServer(MemoryStore(), address=options.address, authkey=key)
    except (OSError, ValueError) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - the edge: errors are one line on stderr
        return 2
    try:
        server.start()
    except OSError as exc:
        print(f"{options.address}: {exc}", file=sys.stderr)  # noqa: T201 - the edge
        return 1
    print(server.address, flush=True)  # noqa: T201 - tells whoever waits that we are ready
    _wait(stop, options.parent)
    server.stop()
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backends.manager", description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT, or the path of a socket")
    parser.add_argument("--authkey-file", required=True, help="holds the key; - is stdin")
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _read_key(source: str) -> bytes:
    key = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    if not key.strip():
        raise ValueError(f"{source}: the authkey is empty")
    return key.strip()


def _wait(stop: Event, parent: int | None) -> None:
    """Return when told to stop, or when *parent* is no longer our parent."""
    if parent is None:
        stop.wait()
        return
    while os.getppid() == parent and not stop.wait(_PARENT_CHECK_S):
        pass


if __name__ == "__main__":
    sys.exit(main())
