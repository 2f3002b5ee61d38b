"""`make deploy-units`: the units under a systemd of their own, and what it makes of hangs.

A Debian root with what deploy/README.md installs is booted: systemd as process 1 of its own
namespaces, over a part of this machine's cgroups. Needs root and cgroup 2.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from tests.deploy.dockerfile import Build
from tests.deploy.files import ROOT, unit
from tests.deploy.image import debian
from tests.servers import children_of, free_port
from tests.waiting import eventually

LONG_S = 120.0
#: Seconds for a console to start.
LOOK_S = 15
README = ROOT / "deploy" / "README.md"
UNITS = ("celery-pump", "celery-pump-worker@1", "celery-pump-worker@2")
ENVIRONMENT = "/etc/celery-pump/environment"
#: Beside the units; users and password are the examples'.
REDIS = """
[Service]
User=redis
ExecStart=/usr/bin/redis-server /etc/redis/pump.conf --port {port} --bind 127.0.0.1 \
    --dir /var/lib/redis --user default off \
    --user pump on >PASSWORD ~* &* +@all --user worker on >PASSWORD ~* &* +@all
"""
#: What boots: nothing of Debian's own but what these ask for.
TARGET = f"""
[Unit]
Wants=pump-redis.service {" ".join(f"{each}.service" for each in UNITS)}
"""
BOOT = """
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount -t cgroup2 none "$1/sys/fs/cgroup"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
mount --rbind /dev "$1/dev"
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$1" \
    /lib/systemd/systemd --unit=pump.target --show-status=false
"""
TREE = '{"root":"/opt/celery-pump/organism/audit"}'


class Machine:
    """What was booted, seen from outside."""

    def __init__(self, first: int) -> None:
        self._first = first

    def run(self, *words: str) -> str:
        """What a command inside says."""
        kinds = ["--mount", "--pid", "--cgroup", f"--root=/proc/{self._first}/root"]
        done = subprocess.run(
            ["nsenter", f"--target={self._first}", *kinds, "env", "--chdir=/", *words],
            env={"PATH": "/opt/celery-pump/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )
        return done.stdout.strip()

    def show(self, name: str, setting: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--property", setting, "--value", name)

    def answers(self) -> bool:
        """True when an audit over pump and workers does."""
        words = f". {ENVIRONMENT}; export ORGANISM BACKEND REDIS_URL; pump send auditor '{TREE}'"
        return self.run("sh", "-ac", words).startswith('{"root"')

    def tell(self, name: str, number: signal.Signals) -> None:
        """Send the main process of a unit a signal."""
        self.run("systemctl", "kill", "--kill-whom=main", f"--signal={number.name}", name)

    def has_restarted(self, name: str) -> bool:
        """True when systemd has started it once again."""
        return self.show(name, "NRestarts") == "1" and self.show(name, "ActiveState") == "active"


def main() -> int:
    """Install, boot, hang, freeze, stop; the exit code."""
    with tempfile.TemporaryDirectory(prefix="pump-units-") as folder:
        work = Path(folder)
        build = Build(ROOT, work, debian(work / "base"))
        root = build.carry_out(Path(__file__).with_name("Dockerfile.host")).root
        _configure(root, free_port())
        with _booted(root) as machine:
            assert eventually(machine.answers, timeout_s=LONG_S), machine.run("journalctl")
            click.echo("a pump and two workers run as units, and answer")
            _look(machine)
            _hang(machine)
            _freeze(machine)
            _stop(machine)
    return 0


def _configure(root: Path, port: int) -> None:
    units = root / "etc" / "systemd" / "system"
    (units / "pump-redis.service").write_text(REDIS.format(port=port))
    (units / "pump.target").write_text(TARGET)
    for path in (root / ENVIRONMENT[1:]).parent.iterdir():
        path.write_text(path.read_text().replace(":6379/", f":{port}/"))


@contextmanager
def _booted(root: Path) -> Iterator[Machine]:
    (cgroups,) = (
        Path(line.split()[1])
        for line in Path("/proc/mounts").read_text().splitlines()
        if line.split()[2] == "cgroup2"
    )
    ours = cgroups / root.parent.name
    ours.mkdir()
    spaces = ["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child"]
    enter = f'echo $$ > {ours}/cgroup.procs; exec unshare "$@"'
    process = subprocess.Popen(
        ["sh", "-c", enter, "sh", *spaces, "sh", "-euc", BOOT, "sh", str(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: bool(children_of(process.pid)))
        yield Machine(children_of(process.pid)[0])
    finally:
        process.kill()
        process.wait()
        eventually(lambda: not (ours / "cgroup.procs").read_text())
        for path, _, _ in os.walk(ours, topdown=False):
            eventually(partial(_is_removed, Path(path)))


def _is_removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return False
    return True


def _look(machine: Machine) -> None:
    """The console, as deploy/README.md has it started by whoever looks."""
    (line,) = re.findall(r"^\$ (sh .*pump console'?)$", README.read_text(), re.MULTILINE)
    words = [word.replace("pump console", "pump console --port 0") for word in shlex.split(line)]
    said = machine.run("timeout", "--signal=INT", str(LOOK_S), *words)
    assert re.search(r"console: http://127\.0\.0\.1:\d+/#token=\S+", said), said
    click.echo("the console starts with the units' environment")


def _hang(machine: Machine) -> None:
    hung = UNITS[:2]
    for name in hung:
        machine.tell(name, signal.SIGSTOP)
    started = time.monotonic()
    for name in hung:
        assert eventually(partial(machine.has_restarted, name), timeout_s=LONG_S), name
    took_s = time.monotonic() - started
    assert eventually(machine.answers, timeout_s=LONG_S)
    click.echo(f"a pump and a worker that stood still were started again after {took_s:.0f} s")


def _freeze(machine: Machine) -> None:
    before = [machine.show(name, "MainPID") for name in UNITS]
    machine.tell("pump-redis", signal.SIGSTOP)
    watchdog_s = float(unit(ROOT / "deploy" / "systemd" / "celery-pump.service")["WatchdogSec"])
    # It is the passing of time that is tested.
    time.sleep(watchdog_s + 10)
    machine.tell("pump-redis", signal.SIGCONT)
    assert eventually(machine.answers, timeout_s=LONG_S)
    assert [machine.show(name, "MainPID") for name in UNITS] == before
    click.echo(f"Redis stood still for {watchdog_s + 10:.0f} s, and nobody was ended for it")


def _stop(machine: Machine) -> None:
    processes = ("find", "/proc", "-maxdepth", "1", "-user", "celery-pump")
    assert machine.run(*processes)
    started = time.monotonic()
    machine.run("systemctl", "stop", *UNITS)
    took_s = time.monotonic() - started
    for name in UNITS:
        assert machine.show(name, "Result") == "success", machine.run("journalctl", "-u", name)
        assert machine.show(name, "ActiveState") == "inactive"
    assert not machine.run(*processes)
    click.echo(f"all of them stopped within {took_s:.0f} s, with nothing left")


if __name__ == "__main__":
    sys.exit(main())
