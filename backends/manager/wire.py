"""How a Manager's client and server talk: addresses, frames, and the calls they carry.

A *request* is the MessagePack array of an operation's name and its arguments; a
*reply* that of an error's class name, or None, and the result or the error's text.
"""

import os
import socket
import struct
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from types import GenericAlias
from typing import Any, NamedTuple

import msgspec

from backends import errors
from backends.codec import decoded
from backends.protocol import SlotRecord
from backends.store import Terms

#: Seconds either side gives the other to prove that it knows the key.
HANDSHAKE_TIMEOUT_S = 5.0
#: The longest request a server reads.
MAX_REQUEST_BYTES = 1 << 30
_LARGEST_PORT = 65_535

Address = tuple[str, int] | str


def parse_address(text: str) -> Address:
    """`host:port`, or the path of a Unix socket, which holds a slash.

    >>> parse_address("localhost:4000"), parse_address("/run/pump.sock")
    (('localhost', 4000), '/run/pump.sock')

    Raises:
        ValueError: it is neither.
    """
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if not _is_host(host) or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise ValueError(f"expected HOST:PORT or the path of a socket, got {text!r}")
    return host.strip("[]"), int(port)


def _is_host(text: str) -> bool:
    """True when *text* may be looked up; anything else raises no `OSError` there."""
    try:
        return bool(text.encode("idna"))
    except UnicodeError:
        return False


def key_bytes(authkey: bytes | str) -> bytes:
    """*authkey* as the bytes both sides hash."""
    return authkey.encode() if isinstance(authkey, str) else authkey


class Channel:
    """An open socket that carries whole frames; it owns and closes *sock*."""

    def __init__(self, sock: socket.socket) -> None:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._frames = Connection(os.dup(sock.fileno()))
        self.set_timeout(HANDSHAKE_TIMEOUT_S)

    def set_timeout(self, seconds: float) -> None:
        """Let a read or a write fail with `OSError` after *seconds*; 0 waits for ever."""
        # The socket's own timeout would make it non-blocking, which Connection can't read.
        timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def welcome(self, authkey: bytes) -> None:
        """As the server: prove the client, then ourselves."""
        deliver_challenge(self._frames, authkey)
        answer_challenge(self._frames, authkey)

    def introduce(self, authkey: bytes) -> None:
        """As the client: prove ourselves, then the server."""
        answer_challenge(self._frames, authkey)
        deliver_challenge(self._frames, authkey)

    def send(self, frame: bytes) -> None:
        """Send one frame."""
        self._frames.send_bytes(frame)

    def receive(self, max_bytes: int | None = None) -> bytes:
        """The next frame; a longer one than *max_bytes* is an `OSError`."""
        return self._frames.recv_bytes(max_bytes)

    def is_stale(self) -> bool:
        """True when the other side has hung up, or has sent what nobody asked for."""
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def hang_up(self) -> None:
        """End both directions, so that a thread waiting in `receive` wakes."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was first
            return

    def close(self) -> None:
        """Release the socket."""
        self._frames.close()
        self._sock.close()


class Operation(NamedTuple):
    """One method of `MemoryStore` as clients may call it."""

    is_write: bool
    arguments: msgspec.msgpack.Decoder[Any]


def _reads(*types: Any) -> Operation:
    return Operation(is_write=False, arguments=msgspec.msgpack.Decoder(GenericAlias(tuple, types)))


def _writes(*types: Any) -> Operation:
    return Operation(is_write=True, arguments=msgspec.msgpack.Decoder(GenericAlias(tuple, types)))


#: What a server does on request; `counts` also tells that it is there.
OPERATIONS = {
    "append": _writes(str, bytes, Terms),
    "record": _writes(list[SlotRecord], Terms),
    "slots": _reads(str),
    "slot": _reads(str, int),
    "length": _reads(str),
    "thread_ids": _reads(),
    "delete_slots": _writes(str),
    "clear_slots": _writes(),
    "link": _writes(str, str, Terms),
    "uuid_of": _reads(str),
    "chain_of": _reads(str),
    "links": _reads(),
    "unlink": _writes(str),
    "clear_links": _writes(),
    "refresh": _writes(list[str], Terms),
    "forget": _writes(list[str]),
    "counts": _reads(),
}

#: What a server may say went wrong.
_ERRORS = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.BackendError)
}
#: Characters of a name, and of an error's text, that are repeated.
_SHOWN_CHARS, _MAX_ERROR_CHARS = 100, 1000

_encoder = msgspec.msgpack.Encoder()
_request_decoder: msgspec.msgpack.Decoder[tuple[str, msgspec.Raw]] = msgspec.msgpack.Decoder(
    tuple[str, msgspec.Raw]
)
_reply_decoder: msgspec.msgpack.Decoder[tuple[str | None, Any]] = msgspec.msgpack.Decoder(
    tuple[str | None, Any]
)


def encode_request(name: str, arguments: tuple[Any, ...]) -> bytes:
    """The frame that asks for operation *name*."""
    return _encoder.encode((name, arguments))


def decode_request(frame: bytes) -> tuple[str, Operation, tuple[Any, ...]]:
    """The name, the operation and its arguments.

    Raises:
        CodecError: the frame is no request.
    """
    name, arguments = decoded(_request_decoder, frame, "a request")
    operation = OPERATIONS.get(name)
    if operation is None:
        raise errors.CodecError(f"no operation is called {name[:_SHOWN_CHARS]!r}")
    return name, operation, decoded(operation.arguments, arguments, "a request")


def encode_result(result: object) -> bytes:
    """The reply to a request that went well."""
    return _encoder.encode((None, result))


def encode_error(error: errors.BackendError) -> bytes:
    """The reply to a request that failed."""
    return _encoder.encode((type(error).__name__, str(error)))


def decode_reply(frame: bytes) -> Any:
    """The result of a request.

    Raises:
        BackendError: the request failed; of the class the server named.
        CodecError: the frame is no reply.
    """
    error_name, result = decoded(_reply_decoder, frame, "a reply")
    if error_name is None:
        return result
    raise _ERRORS.get(error_name, errors.BackendError)(str(result)[:_MAX_ERROR_CHARS])
