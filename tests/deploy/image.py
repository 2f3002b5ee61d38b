"""`make deploy-image`: the image's steps in a Debian root of its own, and what comes of them.

Each container is a process in namespaces of its own, on a read-only root, as the image's user,
without a capability, as docker-compose.yml and the manifests would have it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType

import click

from tests.acceptance.fleets import Command
from tests.deploy.dockerfile import Build, Stage
from tests.deploy.files import DOCKERFILE, FILLED, ROOT, composed
from tests.servers import children_of, free_port, running_redis
from tests.waiting import eventually

#: Debian's own names of what FROM calls by number.
SUITES = {"13": "trixie"}
MIRROR = "http://deb.debian.org/debian"
LONG_S = 90.0
NOTHING: Mapping[str, str] = MappingProxyType({})
#: What a container has of its own, on a root that nobody can write; then it becomes the command.
CONTAINER = """
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=0700,uid=10001,gid=10001 tmpfs "$1/run/pump"
mount -t tmpfs tmpfs "$1/tmp"
mount -o remount,ro,bind "$1"
root=$1 folder=$2 uid=$3 gid=$4
shift 4
exec chroot "$root" setpriv --reuid="$uid" --regid="$gid" --clear-groups --bounding-set=-all \
    --inh-caps=-all --no-new-privs env --chdir="$folder" "$@"
"""


class Container(Command):
    """A process of the image that goes on."""

    @property
    def first(self) -> int:
        """Process 1 of the container, by its number outside."""
        outside = self.process.pid
        assert eventually(lambda: bool(children_of(outside))), self.log
        return children_of(outside)[0]

    def enter(self, *words: str) -> int:
        """Run a command inside, as a healthcheck or probe does; its exit code."""
        within = [
            "nsenter",
            f"--target={self.first}",
            "--mount",
            "--pid",
            f"--root=/proc/{self.first}/root",
        ]
        path = "PATH=/opt/pump/bin:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(
            [*within, "env", path, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode

    def end(self) -> int:
        """SIGTERM to its first process; the exit code."""
        os.kill(self.first, signal.SIGTERM)
        return self.process.wait(LONG_S)


class Image:
    """What was built, to start containers of."""

    def __init__(self, stage: Stage, work: Path) -> None:
        self._stage, self._work = stage, work

    def command(
        self, *words: str, given: Mapping[str, str] = NOTHING, entrypoint: list[str] | None = None
    ) -> list[str]:
        """The command of a container."""
        stage = self._stage
        variables = [f"{name}={text}" for name, text in {**stage.environment, **given}.items()]
        inside = [
            *(stage.entrypoint if entrypoint is None else entrypoint),
            *(words or stage.command),
        ]
        isolated = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-euc",
            CONTAINER,
        ]
        uid, _, gid = stage.user.partition(":")
        return [*isolated, "sh", str(stage.root), stage.folder, uid, gid, "-i", *variables, *inside]

    def run(
        self, *words: str, given: Mapping[str, str] = NOTHING
    ) -> subprocess.CompletedProcess[str]:
        """A container that ends by itself."""
        return subprocess.run(
            self.command(*words, given=given),
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )

    @contextmanager
    def running(
        self, *words: str, given: Mapping[str, str] = NOTHING, entrypoint: list[str] | None = None
    ) -> Iterator[Container]:
        """A container that goes on until the end of the block."""
        log_path = self._work / f"{os.urandom(4).hex()}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                self.command(*words, entrypoint=entrypoint, given=given),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Container(process, log_path)
        finally:
            # Killed with it process 1 would not be: it has become another user since.
            for first in children_of(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(first, signal.SIGKILL)
            process.kill()
            process.wait()


def main() -> int:
    """Build, look, run; the exit code."""
    with tempfile.TemporaryDirectory(prefix="pump-image-") as folder:
        work = Path(folder)
        base = debian(work / "base")
        image = Image(stage := Build(ROOT, work, base).carry_out(DOCKERFILE), work)
        click.echo(f"built: {_mib(stage.root) - _mib(base)} MiB over its base of {_mib(base)}")
        _look_at(image, stage)
        with running_redis() as server:
            _work_with(image, server.url)
    return 0


def debian(root: Path) -> Path:
    """A new root of the Debian that the image begins with, or the one `$DEBIAN_ROOT` names."""
    named = os.environ.get("DEBIAN_ROOT")
    if named:
        return Path(named)
    (number,) = re.findall(r"ARG BASE=debian:(\d+)", DOCKERFILE.read_text())
    command = [shutil.which("debootstrap") or "debootstrap", "--variant=minbase", SUITES[number]]
    click.echo(f"{' '.join(command)} ...")
    subprocess.run([*command, str(root), MIRROR], check=True, stdout=subprocess.DEVNULL)
    return root


def _look_at(image: Image, stage: Stage) -> None:
    version = image.run("version")
    assert version.returncode == 0, version.stderr
    click.echo(" ".join(version.stdout.split()[:4]))
    assert not list(stage.root.glob("src/*")), "sources are left"
    assert not (stage.root / "opt/pump/bin/pip").exists(), "pip is left"
    test = 'id -u; for each in "$@"; do touch "$each/x" && echo "$each"; done'
    places = ("/", "/opt/pump", "/organism", "/run", "/etc", "/run/pump")
    command = image.command("sh", "-c", test, "sh", *places, entrypoint=[])
    written = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert written.split() == [stage.user.partition(":")[0], "/run/pump"], written
    click.echo("no root, and nothing of it can be written")


def _work_with(image: Image, url: str) -> None:
    given = {"BACKEND": "redis", "REDIS_URL": url, "PUMP_SIGNING_KEY": "a key", "WORKERS": "2"}
    # The network is this machine's, and the port may be somebody's: a pump's as a unit, say.
    metrics = str(free_port())
    command = composed()["services"]["worker"]["command"]
    worker = [word.replace("9460", metrics) for word in command]
    with image.running(given=given) as pumps, image.running(*worker, given=given) as works:
        for each in (pumps, works):
            assert eventually(partial(_is_alive, each), timeout_s=LONG_S), each.log
        click.echo("pump and worker run, and are found alive by the healthcheck")
        tree = json.dumps({"root": "/organism/audit"})
        done = image.run("send", "auditor", tree, given=given)
        assert done.returncode == 0, done.stdout + done.stderr + works.log
        assert done.stdout.startswith("{"), done.stdout
        click.echo(f"an audit over both: {len(done.stdout)} bytes of answer")
        (main_process,) = children_of(works.first)
        os.kill(main_process, signal.SIGSTOP)
        assert eventually(lambda: works.enter("alive", "/run/pump/alive", "3") == 1)
        os.kill(main_process, signal.SIGCONT)
        assert eventually(lambda: works.enter("alive", "/run/pump/alive", "3") == 0)
        click.echo("a worker that stands still is found, and one that goes on")
        assert (pumps.end(), works.end()) == (0, 0), pumps.log + works.log
        click.echo("SIGTERM to process 1 ends both with 0")
    _flower(image, given)
    _console(image, given)


def _is_alive(container: Container) -> bool:
    return container.enter("alive") == 0


def _flower(image: Image, given: dict[str, str]) -> None:
    service = composed()["services"]["flower"]
    given = given | {"FLOWER_BASIC_AUTH": FILLED["FLOWER_BASIC_AUTH"]}
    # The network is this machine's, and the port may be somebody's.
    port = str(free_port())
    _, *check = (word.replace("5555", port) for word in service["healthcheck"]["test"])
    command = [word.replace("5555", port) for word in service["command"]]
    with image.running(*command, entrypoint=service["entrypoint"], given=given) as flower:
        assert eventually(lambda: flower.enter(*check) == 0, timeout_s=LONG_S), flower.log
        assert flower.end() == 0, flower.log
    click.echo("Flower runs, by its healthcheck")


def _console(image: Image, given: dict[str, str]) -> None:
    service = composed()["services"]["console"]
    given = given | {"PUMP_CONSOLE_TOKEN": FILLED["PUMP_CONSOLE_TOKEN"]}
    port = str(free_port())
    _, *check = (word.replace("8642", port) for word in service["healthcheck"]["test"])
    with image.running(*service["command"], "--port", port, given=given) as console:
        assert eventually(lambda: console.enter(*check) == 0, timeout_s=LONG_S), console.log
        assert console.end() == 0, console.log
        assert FILLED["PUMP_CONSOLE_TOKEN"] not in console.log
    click.echo("the console runs, by its healthcheck")


def _mib(root: Path) -> int:
    return int(subprocess.check_output(["du", "-sxm", str(root)], text=True).split()[0])


if __name__ == "__main__":
    sys.exit(main())
