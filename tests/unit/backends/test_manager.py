"""The Manager's server and line: bad company, deaths, and what is left behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from pathlib import Path

import msgspec
import pytest

from backends import BackendConfig, BackendError, BackendUnavailableError, ManagerBackend
from backends.manager import StoreServer
from backends.manager.__main__ import main
from backends.manager.wire import parse_address
from backends.store import MemoryStore, Terms
from tests.servers import free_port
from tests.waiting import eventually

KEY = "s3cret key"


@pytest.fixture
def server() -> Iterator[StoreServer]:
    server = StoreServer(MemoryStore(), authkey=KEY)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connect() -> Iterator[Callable[..., ManagerBackend]]:
    """Connects to servers; closes every connection at the end."""
    opened: list[ManagerBackend] = []

    def connect(server: StoreServer | str, authkey: str = KEY) -> ManagerBackend:
        address = server if isinstance(server, str) else server.address
        config = BackendConfig(manager_address=address, manager_authkey=authkey)
        opened.append(ManagerBackend(config))
        return opened[-1]

    yield connect
    for backend in opened:
        backend.close()


def raw_client(server: StoreServer) -> Connection:
    """What the standard library's own client makes of our server."""
    connection: Connection = Client(parse_address(server.address), authkey=KEY.encode())
    return connection


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("localhost:1", ("localhost", 1)),
            ("[::1]:1", ("::1", 1)),
            ("/a/b.sock", "/a/b.sock"),
            ("./b:1", "./b:1"),
        ],
    )
    def test_host_and_port_or_path(self, text: str, address: object) -> None:
        """A slash makes it a path."""
        assert parse_address(text) == address

    @pytest.mark.parametrize(
        "text", ["", "localhost", "localhost:", ":1", "localhost:http", "h:65536", "a..b:1"]
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        """The text of the error repeats what was given."""
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_address(text)

    def test_an_address_needs_a_key(self) -> None:
        """A server is never called without its key."""
        with pytest.raises(ValueError, match="manager_authkey"):
            ManagerBackend(BackendConfig(manager_address="localhost:1"))


class TestBadCompany:
    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"\xc1",
            b"not msgpack",
            msgspec.msgpack.encode(["append"]),
            msgspec.msgpack.encode(["append", ["a"]]),
            msgspec.msgpack.encode(["append", ["a", "not bytes", [0, 1, 1]]]),
            msgspec.msgpack.encode(["__init__", []]),
            msgspec.msgpack.encode([1, 2]),
        ],
    )
    def test_a_bad_frame_ends_its_connection_only(
        self, server: StoreServer, connect: Callable[..., ManagerBackend], frame: bytes
    ) -> None:
        """Who sends anything but a request is hung up on; others don't notice."""
        neighbour = connect(server)
        neighbour.buffer_append("a", b"x")
        with raw_client(server) as stranger:
            stranger.send_bytes(frame)
            with pytest.raises((EOFError, ConnectionResetError)):
                stranger.recv_bytes()
        assert neighbour.buffer_get_thread("a") == [b"x"]

    def test_a_silent_client_keeps_nobody_out(
        self, server: StoreServer, connect: Callable[..., ManagerBackend]
    ) -> None:
        """A connection that never proves its key does not hold up the next one."""
        with socket.create_connection(parse_address(server.address)):  # type: ignore[arg-type]
            assert connect(server).ping()

    def test_a_wrong_key_is_refused(
        self, server: StoreServer, connect: Callable[..., ManagerBackend]
    ) -> None:
        """The error names the address, and neither key."""
        stranger = connect(server, "wr0ng key")
        with pytest.raises(BackendUnavailableError, match=server.address) as caught:
            stranger.buffer_append("a", b"x")
        assert "key" not in str(caught.value).replace("authkey", "")
        assert not stranger.ping()
        assert connect(server).buffer_list_threads() == []

    def test_a_server_that_is_none_of_ours(self, connect: Callable[..., ManagerBackend]) -> None:
        """Something else at the address is as good as nobody."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            backend = connect(f"127.0.0.1:{listener.getsockname()[1]}")
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(backend.buffer_list_threads)
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40)
                    with suppress(OSError):
                        # It may have hung up by then.
                        peer.shutdown(socket.SHUT_WR)
                    with pytest.raises(BackendUnavailableError):
                        answer.result(10)

    def test_a_read_only_server_refuses_writes(
        self, connect: Callable[..., ManagerBackend]
    ) -> None:
        """Readers see the store of the process that serves it, and change nothing."""
        store = MemoryStore()
        server = StoreServer(store, authkey=KEY, read_only=True)
        server.start()
        reader = connect(server)
        writes: list[Callable[[], object]] = [
            lambda: reader.buffer_append("a", b"x"),
            lambda: reader.buffer_delete_thread("a"),
            reader.buffer_clear,
            lambda: reader.registry_set("c", "a"),
            lambda: reader.registry_delete("a"),
            reader.registry_clear,
            lambda: reader.record([]),
            lambda: reader.refresh([]),
            lambda: reader.forget([]),
        ]
        for write in writes:
            with pytest.raises(BackendError, match="read-only"):
                write()
        terms = Terms(60, 10, 10)
        store.link("c", "a", terms)
        store.append("a", b"x", terms)
        assert reader.buffer_get_thread("a") == [b"x"]
        assert reader.registry_list_all() == {"a": "c"}
        server.stop()


class TestDeath:
    def test_stopping_leaves_no_thread(self, connect: Callable[..., ManagerBackend]) -> None:
        """A stopped server has ended its threads, whatever its clients were doing."""
        before = set(threading.enumerate())
        server = StoreServer(MemoryStore(), authkey=KEY)
        server.start()
        clients = [connect(server) for _ in range(3)]
        assert all(client.ping() for client in clients)
        with socket.create_connection(parse_address(server.address)):  # type: ignore[arg-type]
            server.stop()
            server.stop()
        assert set(threading.enumerate()) <= before
        assert not any(client.ping() for client in clients)

    def test_nobody_at_the_address(self, connect: Callable[..., ManagerBackend]) -> None:
        """A dead server is unavailable, and named."""
        address = f"127.0.0.1:{free_port()}"
        with pytest.raises(BackendUnavailableError, match=address):
            connect(address).buffer_append("a", b"x")
        with pytest.raises(BackendUnavailableError, match=r"/nowhere/at\.all"):
            connect("/nowhere/at.all").buffer_append("a", b"x")

    def test_a_server_that_comes_back(
        self, connect: Callable[..., ManagerBackend], tmp_path: Path
    ) -> None:
        """The next call connects anew, whether or not one failed in between."""
        path = str(tmp_path / "store.sock")
        store = MemoryStore()
        backend = connect(path)
        for count in range(3):
            server = StoreServer(store, address=path, authkey=KEY)
            server.start()
            assert backend.buffer_append("a", b"x") == count
            server.stop()
            if count == 1:
                with pytest.raises(BackendUnavailableError, match=r"store\.sock"):
                    backend.buffer_append("a", b"x")

    def test_a_server_that_dies_in_a_call(self, connect: Callable[..., ManagerBackend]) -> None:
        """A call in the air fails; it does not hang and is not sent again."""
        held, asked = threading.Event(), threading.Event()

        class Held(MemoryStore):
            def thread_ids(self) -> list[str]:
                asked.set()
                held.wait(10)
                return []

        server = StoreServer(Held(), authkey=KEY)
        server.start()
        backend, address = connect(server), server.address
        with ThreadPoolExecutor(2) as pool:
            call = pool.submit(backend.buffer_list_threads)
            assert asked.wait(10)
            stopped = pool.submit(server.stop)
            with pytest.raises(BackendUnavailableError, match=address):
                call.result(10)
            held.set()
            stopped.result(10)

    def test_a_killed_private_server(self) -> None:
        """Its data is lost, which every later call says."""
        backend = ManagerBackend()
        assert backend._private is not None
        backend._private._process.kill()
        backend._private._process.wait()
        with pytest.raises(BackendUnavailableError, match=r"127\.0\.0\.1"):
            backend.buffer_append("a", b"x")
        backend.close()

    def test_many_threads_share_a_line(
        self, server: StoreServer, connect: Callable[..., ManagerBackend]
    ) -> None:
        """Each call of many threads gets its own answer."""
        backend = connect(server)
        for n in range(16):
            backend.buffer_append(f"t{n}", str(n).encode())

        def ask(n: int) -> bool:
            return all(backend.buffer_get_thread(f"t{n}") == [str(n).encode()] for _ in range(50))

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(16)))


class TestProcesses:
    def test_a_forked_child_has_connections_of_its_own(self) -> None:
        """Parent and child both go on, and only the parent ends the server."""
        code = (
            "import os\n"
            "from backends import ManagerBackend\n"
            "backend = ManagerBackend()\n"
            "backend.buffer_append('a', b'parent')\n"
            "child = os.fork()\n"
            "backend.buffer_append('a', b'either')\n"
            "if not child:\n"
            "    backend.close()\n"
            "    os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "assert backend.buffer_thread_len('a') == 3\n"
            "backend.close()\n"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)

    def test_a_private_server_ends_with_its_killed_parent(self) -> None:
        """SIGKILL of the parent leaves no server process."""
        code = (
            "import sys\n"
            "from backends import ManagerBackend\n"
            "backend = ManagerBackend()\n"
            "print(backend._private._process.pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with parent:
            assert parent.stdout is not None
            server_id = int(parent.stdout.readline())
            assert is_running(server_id)
            parent.kill()
        assert eventually(lambda: not is_running(server_id))

    def test_a_private_server_ignores_the_terminals_interrupt(self) -> None:
        """Ctrl-C is the parent's to handle; the data survives it."""
        backend = ManagerBackend()
        assert backend._private is not None
        server_id = backend._private._process.pid
        assert os.getpgid(server_id) != os.getpgid(0)
        os.kill(server_id, signal.SIGINT)
        assert backend.buffer_append("a", b"x") == 0
        backend.close()
        assert not is_running(server_id)

    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("kind", ["port", "path"])
    def test_the_command_serves_until_told(
        self,
        connect: Callable[..., ManagerBackend],
        tmp_path: Path,
        ending: signal.Signals,
        kind: str,
    ) -> None:
        """It prints its address when ready, and leaves cleanly."""
        key_file = tmp_path / "key"
        key_file.write_text(KEY + "\n")
        place = "127.0.0.1:0" if kind == "port" else str(tmp_path / "store.sock")
        command = [sys.executable, "-W", "error", "-m", "backends.manager", "--address", place]
        with subprocess.Popen(
            [*command, "--authkey-file", str(key_file)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            address = process.stdout.readline().decode().strip()
            first, second = connect(address), connect(address)
            first.buffer_append("a", b"x")
            assert second.buffer_get_thread("a") == [b"x"]
            process.send_signal(ending)
            assert process.wait(10) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["key"]

    def test_the_socket_of_a_killed_server_is_taken_over(
        self, connect: Callable[..., ManagerBackend], tmp_path: Path
    ) -> None:
        """What a killed server left at a path does not keep the next one out; a live one does."""
        path = str(tmp_path / "store.sock")
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(path)
        server = StoreServer(MemoryStore(), address=path, authkey=KEY)
        server.start()
        assert connect(server).ping()
        with pytest.raises(OSError, match="in use"):
            StoreServer(MemoryStore(), address=path, authkey=KEY).start()
        assert connect(server).ping()
        server.stop()

    def test_mistakes_are_one_line(
        self, tmp_path: Path, server: StoreServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """2 for a bad address or key, 1 for an address that is taken."""
        empty, key = tmp_path / "empty", tmp_path / "key"
        empty.touch()
        key.write_text(KEY)
        cases = [
            ("127.0.0.1:0", tmp_path / "missing", 2),
            ("127.0.0.1:0", empty, 2),
            ("nowhere", key, 2),
            (server.address, key, 1),
        ]
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for address, key_file, code in cases:
                assert main(["--address", address, "--authkey-file", str(key_file)]) == code
                assert len(capsys.readouterr().err.splitlines()) == 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def is_running(process_id: int) -> bool:
    """True while a process has that id."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
