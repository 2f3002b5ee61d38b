"""The backend of a single machine, as its clients see it."""

import os
import secrets
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import wait
from typing import Any

from backends.errors import (
    BackendClosedError,
    BackendError,
    BackendUnavailableError,
    CodecError,
)
from backends.manager.wire import (
    HANDSHAKE_TIMEOUT_S,
    Channel,
    decode_reply,
    encode_request,
    key_bytes,
    parse_address,
)
from backends.protocol import BackendConfig, SlotRecord
from backends.store import Terms

#: Seconds a call may take before the server counts as dead.
_CALL_TIMEOUT_S = 30.0
#: Seconds a private server may take to start, and to end.
_PROCESS_TIMEOUT_S = 15.0
#: No thread has so many slots; larger numbers don't fit a frame.
_LARGEST_INDEX = 2**63 - 1


class ManagerBackend:
    """A `SharedBackend` and `ConversationStore` for the processes of one machine.

    The data lives in a server process. With a `manager_address` that server is
    somebody else's and is called when first needed; without, a private one starts
    here and ends with `close`, or with this process however it ends.

    Raises:
        ValueError: an address without `manager_authkey`, or one that can't be read.
        BackendUnavailableError: the private server does not start.
    """

    def __init__(self, config: BackendConfig | None = None) -> None:
        config = config or BackendConfig(backend_type="manager")
        self._terms = Terms.of(config)
        self._private: _PrivateServer | None = None
        address, authkey = config.manager_address, config.manager_authkey
        if address is None:
            self._private = _PrivateServer()
            address, authkey = self._private.address, self._private.authkey
        if not authkey:
            raise ValueError("manager_address needs the server's manager_authkey beside it")
        self._line = _Line(address, key_bytes(authkey))
        self._shareable = replace(
            config, backend_type="manager", manager_address=address, manager_authkey=authkey
        )

    def buffer_append(self, thread_id: str, slot_data: bytes) -> int:
        """Append one slot; its index."""
        return int(self._line.call("append", thread_id, slot_data, self._terms))

    def buffer_get_thread(self, thread_id: str) -> list[bytes]:
        """All slots in order."""
        return list(self._line.call("slots", thread_id))

    def buffer_get_slot(self, thread_id: str, index: int) -> bytes | None:
        """One slot; None out of range."""
        slot: bytes | None = self._line.call("slot", thread_id, min(max(index, -1), _LARGEST_INDEX))
        return slot

    def buffer_thread_len(self, thread_id: str) -> int:
        """How many slots the thread has."""
        return int(self._line.call("length", thread_id))

    def buffer_thread_exists(self, thread_id: str) -> bool:
        """True when the thread has a slot."""
        return self.buffer_thread_len(thread_id) > 0

    def buffer_delete_thread(self, thread_id: str) -> bool:
        """Delete the thread's slots; True if there were any."""
        return bool(self._line.call("delete_slots", thread_id))

    def buffer_list_threads(self) -> list[str]:
        """Ids of all threads with slots."""
        return list(self._line.call("thread_ids"))

    def buffer_clear(self) -> None:
        """Delete every slot on the server."""
        self._line.call("clear_slots")

    def registry_set(self, chain: str, uuid: str) -> None:
        """Link *chain* and *uuid*."""
        self._line.call("link", chain, uuid, self._terms)

    def registry_get_uuid(self, chain: str) -> str | None:
        """The uuid linked to *chain*."""
        uuid: str | None = self._line.call("uuid_of", chain)
        return uuid

    def registry_get_chain(self, uuid: str) -> str | None:
        """The chain linked to *uuid*."""
        chain: str | None = self._line.call("chain_of", uuid)
        return chain

    def registry_delete(self, uuid: str) -> bool:
        """Unlink *uuid*; True if it was linked."""
        return bool(self._line.call("unlink", uuid))

    def registry_list_all(self) -> dict[str, str]:
        """All links, uuid to chain."""
        return dict(self._line.call("links"))

    def registry_clear(self) -> None:
        """Delete every link on the server."""
        self._line.call("clear_links")

    def record(self, slots: Sequence[SlotRecord]) -> list[int]:
        """Append all slots and link their threads, or nothing; their indices."""
        return list(self._line.call("record", slots, self._terms))

    def refresh(self, thread_ids: list[str]) -> None:
        """Start the time to live of these threads anew."""
        self._line.call("refresh", thread_ids, self._terms)

    def forget(self, thread_ids: list[str]) -> None:
        """Delete slots and links of these threads."""
        self._line.call("forget", thread_ids)

    def lend(self) -> BackendConfig:
        """Settings with which a process of this machine shares our data."""
        self._line.check_open()
        return self._shareable

    def close(self) -> None:
        """Close our connections; a private server ends."""
        self._line.close()
        if self._private is not None:
            self._private.end()

    def ping(self) -> bool:
        """True when the server answers."""
        try:
            self._line.call("counts")
        except BackendError:
            return False
        return True

    def info(self) -> dict[str, Any]:
        """What the server holds, and where it is."""
        threads, links = self._line.call("counts")
        return {
            "backend_type": "manager",
            "address": self._line.address,
            "buffer_threads": threads,
            "registry_entries": links,
            "ttl_seconds": self._terms.ttl_s,
        }


class _Line:
    """Connections to one server, one for each thread that calls at the same time.

    Nothing is sent twice: a call whose connection breaks fails, and the next one
    connects anew.
    """

    def __init__(self, address: str, authkey: bytes) -> None:
        self.address = address
        self._target = parse_address(address)
        self._authkey = authkey
        self._idle: deque[Channel] = deque()
        self._process_id = os.getpid()
        self._is_closed = False

    def call(self, name: str, *arguments: Any) -> Any:
        self.check_open()
        request = encode_request(name, arguments)
        channel = self._take()
        try:
            channel.send(request)
            frame = channel.receive()
        except (OSError, EOFError) as exc:
            channel.close()
            raise BackendUnavailableError(
                f"the store at {self.address} broke off: {str(exc) or 'connection closed'}"
            ) from exc
        except BaseException:
            channel.close()
            raise
        self._give_back(channel)
        try:
            return decode_reply(frame)
        except CodecError as exc:
            raise BackendError(f"the store at {self.address} sent no reply: {exc}") from exc

    def check_open(self) -> None:
        if self._is_closed:
            raise BackendClosedError(f"this backend of the store at {self.address} is closed")

    def close(self) -> None:
        self._is_closed = True
        self._drop_idle()

    def _take(self) -> Channel:
        if self._process_id != os.getpid():
            # A forked child must not share its parent's connections.
            self._drop_idle()
            self._process_id = os.getpid()
        while True:
            try:
                channel = self._idle.pop()
            except IndexError:
                return self._connect()
            if not channel.is_stale():
                return channel
            channel.close()

    def _give_back(self, channel: Channel) -> None:
        self._idle.append(channel)
        if self._is_closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread took the last one
                return

    def _connect(self) -> Channel:
        try:
            channel = Channel(self._open_socket())
        except OSError as exc:
            raise BackendUnavailableError(f"no store answers at {self.address}: {exc}") from exc
        try:
            channel.introduce(self._authkey)
            channel.set_timeout(_CALL_TIMEOUT_S)
        except (OSError, EOFError, AuthenticationError, AssertionError) as exc:
            channel.close()
            raise BackendUnavailableError(
                f"the store at {self.address} refused our authkey, or is no store"
            ) from exc
        return channel

    def _open_socket(self) -> socket.socket:
        if not isinstance(self._target, str):
            sock = socket.create_connection(self._target, HANDSHAKE_TIMEOUT_S)
        else:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(self._target)
            except OSError:
                sock.close()
                raise
        sock.settimeout(None)
        return sock


class _PrivateServer:
    """A server process of our own. It watches us: nothing we hold can keep it alive."""

    def __init__(self) -> None:
        self.authkey = secrets.token_hex().encode()
        self._owner = os.getpid()
        command = [sys.executable, "-m", "backends.manager", "--address", "127.0.0.1:0"]
        command += ["--authkey-file", "-", "--parent", str(self._owner)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no outside input
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            # A session of its own: Ctrl-C in the terminal is not meant for it.
            start_new_session=True,
        )
        self.address = self._begin()

    def end(self) -> None:
        if self._owner != os.getpid() or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_PROCESS_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _begin(self) -> str:
        """Hand over the key; the address that the server chose."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:  # pragma: no cover - Popen made both
            raise BackendUnavailableError("the private store server has no pipes")
        with stdin, stdout:
            with suppress(BrokenPipeError):
                stdin.write(self.authkey)
            stdin.close()
            line = stdout.readline() if wait([stdout.fileno()], _PROCESS_TIMEOUT_S) else b""
        if not line:
            self._process.kill()
            self._process.wait()
            raise BackendUnavailableError("the private store server did not start; see stderr")
        return line.decode().strip()
