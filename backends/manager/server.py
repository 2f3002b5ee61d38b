"""Lends a `MemoryStore` to other processes, over a socket and behind a key."""

import errno
import logging
import socket
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import wait
from pathlib import Path
from threading import Event, Lock, Thread, current_thread

from backends.errors import BackendError, CodecError
from backends.manager.wire import (
    MAX_REQUEST_BYTES,
    Address,
    Channel,
    decode_request,
    encode_error,
    encode_result,
    key_bytes,
    parse_address,
)
from backends.store import MemoryStore

log = logging.getLogger(__name__)

#: Seconds until accepting is tried again when the process is out of file descriptors.
_ACCEPT_PAUSE_S = 0.1
#: Clients that may knock at once before one is turned away.
_BACKLOG = 128


class StoreServer:
    """Serves one store from daemon threads of this process: one accepts, one per client.

    A client that sends anything but a request loses its connection; nobody else does.

    Args:
        store: outlives the server.
        address: `host:port`, 0 for a free port, or the path of a Unix socket.
        authkey: what clients must know.
        read_only: refuse every write with a `BackendError`.
    """

    def __init__(
        self,
        store: MemoryStore,
        *,
        address: str = "127.0.0.1:0",
        authkey: bytes | str,
        read_only: bool = False,
    ) -> None:
        self._store = store
        self._authkey = key_bytes(authkey)
        self._read_only = read_only
        self._requested = parse_address(address)
        self._listener: socket.socket | None = None
        self._accepting: Thread | None = None
        self._wake_reader, self._wake_writer = Pipe(duplex=False)
        self._is_stopping = Event()
        self._clients: dict[Thread, Channel] = {}
        self._lock = Lock()

    @property
    def address(self) -> str:
        """Where clients connect; known once started."""
        if self._listener is None:
            raise BackendError("the store server is not running")
        if isinstance(self._requested, str):
            return self._requested
        host, port = self._listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        """Listen, and serve until `stop`; called once.

        Raises:
            OSError: the address can't be listened on.
        """
        self._listener = _listen(self._requested)
        self._accepting = Thread(
            target=self._accept, args=(self._listener,), name="store server", daemon=True
        )
        self._accepting.start()

    def stop(self) -> None:
        """Close every connection and end every thread; calling it again does nothing."""
        if self._listener is None or self._accepting is None:
            return
        self._is_stopping.set()
        self._wake_writer.send_bytes(b"")
        self._accepting.join()
        self._listener.close()
        self._listener = None
        self._wake_reader.close()
        self._wake_writer.close()
        if isinstance(self._requested, str):
            Path(self._requested).unlink(missing_ok=True)
        with self._lock:
            clients = list(self._clients.items())
        for _, channel in clients:
            channel.hang_up()
        for thread, _ in clients:
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            wait([listener, self._wake_reader])
            if self._is_stopping.is_set():
                return
            try:
                sock, _ = listener.accept()
            except OSError as exc:
                log.warning("client not accepted", extra={"action": "accept", "error": str(exc)})
                self._is_stopping.wait(_ACCEPT_PAUSE_S)
                continue
            channel = Channel(sock)
            thread = Thread(
                target=self._serve, args=(channel,), name="store server client", daemon=True
            )
            with self._lock:
                self._clients[thread] = channel
            thread.start()

    def _serve(self, channel: Channel) -> None:
        thread = current_thread()
        try:
            channel.welcome(self._authkey)
            channel.set_timeout(0)
            while True:
                channel.send(self._reply(channel.receive(MAX_REQUEST_BYTES)))
        except EOFError:
            return
        except (OSError, AuthenticationError, AssertionError, CodecError) as exc:
            log.info("client dismissed", extra={"action": "dismiss", "error": str(exc)})
        finally:
            with self._lock:
                del self._clients[thread]
                channel.close()

    def _reply(self, frame: bytes) -> bytes:
        name, operation, arguments = decode_request(frame)
        if operation.is_write and self._read_only:
            return encode_error(BackendError("this store is read-only here; write at its home"))
        try:
            return encode_result(getattr(self._store, name)(*arguments))
        except BackendError as exc:
            return encode_error(exc)


def _listen(address: Address) -> socket.socket:
    if not isinstance(address, str):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    _remove_stale(address)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
        Path(address).chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket that a killed server left at *path*; one in use stays."""
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == errno.ECONNREFUSED and Path(path).is_socket():
            Path(path).unlink(missing_ok=True)
