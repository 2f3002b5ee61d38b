"""What a probe of the heartbeat file finds out: hangs, and no outage of Redis."""

import signal
import socket
from pathlib import Path

import pytest

from tests.acceptance.fleets import PUMP, pump, started
from tests.deploy.probing import READY, Probed, holds_for, probed, write_hangable
from tests.servers import DurableRedis, RedisServer, running_redis
from tests.waiting import eventually

#: Seconds within which the probe wants a beat, where a test waits for it to find none.
SOON_S = 3
#: What a busy machine may add.
LONG_S = 30.0
#: An outage, and the longest silence allowed in it. Celery alone would be silent throughout.
OUTAGE_S, SILENCE_S = 26.0, 20

both = pytest.mark.parametrize("kind", ["run", "worker"])


@both
def test_it_lives_from_start_to_end(
    kind: str, redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """A file that a former process left tells nothing; at the end none is left."""
    write_hangable(tmp_path / "o", redis_server.url, redis_prefix)
    left = tmp_path / "o" / f"{kind}.alive"
    left.touch()
    with probed(kind, tmp_path / "o") as process:
        assert eventually(lambda: not left.exists(), timeout_s=LONG_S)
        assert process.is_ready(kind), process.command.log
        assert eventually(process.alive)
        assert holds_for(lambda: process.alive(SOON_S), SOON_S + 2)
        process.tell(signal.SIGTERM)
        assert process.command.process.wait(LONG_S) == 0
        assert not left.exists()
        assert not process.alive()


@both
def test_one_that_stands_still_is_found(
    kind: str, redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """And let go when it goes on."""
    write_hangable(tmp_path / "o", redis_server.url, redis_prefix)
    with probed(kind, tmp_path / "o") as process:
        assert process.is_ready(kind), process.command.log
        assert eventually(process.alive)
        process.tell(signal.SIGSTOP)
        assert eventually(lambda: not process.alive(SOON_S), timeout_s=LONG_S)
        process.tell(signal.SIGCONT)
        assert eventually(lambda: process.alive(SOON_S))


def test_a_pump_whose_loop_hangs_is_found(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """A handler that never yields holds it; the lease is renewed all the same."""
    write_hangable(tmp_path / "o", redis_server.url, redis_prefix)
    with probed("run", tmp_path / "o") as process:
        assert process.is_ready("run"), process.command.log
        assert eventually(process.alive)
        sent = pump(tmp_path / "o", "send", "organism.yaml", "hang", '{"n":1}', "--no-wait")
        assert sent.returncode == 0, sent.stderr
        assert eventually(lambda: not process.alive(SOON_S), timeout_s=LONG_S)


def test_a_worker_whose_main_thread_hangs_is_found(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """Its other threads run, and Redis answers."""
    write_hangable(tmp_path / "o", redis_server.url, redis_prefix)
    with probed("worker", tmp_path / "o", PYTHONPATH=str(tmp_path / "o" / "hook")) as process:
        assert process.is_ready("worker"), process.command.log
        assert eventually(process.alive)
        process.tell(signal.SIGUSR2)
        assert eventually(lambda: not process.alive(SOON_S), timeout_s=LONG_S)
        # For good: that Redis answers is asked again and again.
        assert holds_for(lambda: not process.alive(SOON_S), 8)


@pytest.mark.parametrize("outage", [signal.SIGKILL, signal.SIGSTOP])
def test_an_outage_is_no_hang(outage: signal.Signals, tmp_path: Path) -> None:
    """Whether Redis refuses connections, or takes them and never answers."""
    with running_redis() as server:
        write_hangable(tmp_path / "o", server.url, "x:")
        with probed("run", tmp_path / "o") as runs, probed("worker", tmp_path / "o") as works:
            both = {"run": runs, "worker": works}
            for kind, process in both.items():
                assert process.is_ready(kind), process.command.log
                assert eventually(process.alive)
            server.process.send_signal(outage)
            assert holds_for(lambda: all(map(_is_alive, both.values())), OUTAGE_S)
            if outage == signal.SIGSTOP:
                server.process.send_signal(signal.SIGCONT)
                assert eventually(lambda: works.alive(SOON_S), timeout_s=LONG_S)
                done = pump(tmp_path / "o", "send", "organism.yaml", "square", '{"n":3}')
                assert done.stdout == '{"n":9}\n'


def _is_alive(process: Probed) -> bool:
    return process.alive(SILENCE_S)


def test_a_worker_that_starts_into_an_outage_lives(tmp_path: Path) -> None:
    """It waits for Redis; a pump says so and ends, for whoever supervises it to try again."""
    server = DurableRedis(tmp_path)
    write_hangable(tmp_path / "o", server.url, "x:")
    with probed("worker", tmp_path / "o") as process:
        assert eventually(process.alive, timeout_s=LONG_S), process.command.log
        assert holds_for(lambda: process.alive(SOON_S), SOON_S + 2), process.command.log
        pumps = pump(tmp_path / "o", "run", "organism.yaml")
        assert pumps.returncode == 1
        assert "does not answer" in pumps.stderr
        server.start()
        try:
            assert process.is_ready("worker"), process.command.log
            assert process.alive(SOON_S)
        finally:
            server.kill()


@both
def test_systemds_watchdog_hears_it(
    kind: str, redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """From the main process alone, without a file, and no more once that hangs."""
    write_hangable(tmp_path / "o", redis_server.url, redis_prefix)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(LONG_S)
        # As systemd tells it: which process it wants to hear from, and where.
        become = 'export WATCHDOG_PID=$$ && exec "$@"'
        program = ["sh", "-c", become, "sh", *PUMP]
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1"}
        with started(tmp_path / "o", kind, "organism.yaml", program=program, **told) as command:
            assert command.says(READY[kind]), command.log
            for _ in range(3):
                assert systemd.recv(100) == b"WATCHDOG=1"
            command.process.send_signal(signal.SIGSTOP)
            systemd.settimeout(SOON_S)
            # Those sent before it stood still; then none.
            with pytest.raises(TimeoutError):
                any(systemd.recv(100) == b"" for _ in range(10))


@both
def test_a_file_that_cannot_be_written_is_refused(kind: str, tmp_path: Path) -> None:
    """At once, with the reason: nobody would restart it in vain for ever."""
    write_hangable(tmp_path / "o", "redis://127.0.0.1:1/0", "x:")
    nowhere = tmp_path / "missing" / "alive"
    done = pump(tmp_path / "o", kind, "organism.yaml", "--heartbeat-file", str(nowhere))
    assert done.returncode == 2
    assert done.stderr == (
        f"pump {kind}: Invalid value for --heartbeat-file: {nowhere}: No such file or directory\n"
    )
