"""An organism over Redis, with a pump and a worker, as its users start them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fleet import write_organism
from tests.servers import ACCOUNT, account
from tests.waiting import eventually

PUMP = [sys.executable, "-P", "-m", "pipeline.cli.main"]
#: Seconds a part may take to start, on a busy machine.
START_S = 60.0

HANDLERS = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path

from pipeline import Gathered, HandlerResponse

HERE = Path(__file__).parent

@dataclass
class Number:
    n: int

def squares(payload, metadata):
    if isinstance(payload, Gathered):
        return HandlerResponse.respond(Number(sum(each.n for each in payload.results)))
    return HandlerResponse.scatter([Number(n) for n in range(payload.n)], to="square")

def square(payload, metadata):
    return HandlerResponse.respond(Number(payload.n**2))

def picky(payload, metadata):
    raise ValueError("not this one")

def deadly(payload, metadata):
    if not (HERE / "mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return HandlerResponse.respond(payload)

def through(payload, metadata):
    if metadata.from_id == "deadly":
        return HandlerResponse.respond(Number(payload.n + 1))
    return HandlerResponse(payload, to="deadly")

def silent(payload, metadata):
    return None

def gate(payload, metadata):
    (HERE / f"begun.{payload.n}").touch()
    while not (HERE / "gate").exists():
        time.sleep(0.01)
    return HandlerResponse.respond(payload)
"""
#: On workers; the others run on the pump.
CPU_BOUND = ("square", "deadly", "gate")
LISTENERS = [
    {
        "name": name,
        "payload_class": "sums.Number",
        "handler": f"sums.{name}",
        "cpu_bound": name in CPU_BOUND,
    }
    for name in ("squares", "square", "picky", "deadly", "through", "silent", "gate")
]


def write_sums(folder: Path, url: str, prefix: str, **sections: Mapping[str, Any]) -> Path:
    """The organism's file; its handlers beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "sums.py").write_text(HANDLERS)
    return write_organism(folder / "organism.yaml", url, prefix, LISTENERS, **sections)


def environment(**more: str) -> dict[str, str]:
    """Ours, without what names an organism or a Redis."""
    mine = {name: text for name, text in os.environ.items() if name not in _OURS}
    return {**mine, **more}


_OURS = ("ORGANISM", "REDIS_URL", "BROKER_URL", "BACKEND", "WORKERS")


def pump(
    folder: Path, *args: str, stdin: str = "", timeout_s: float = 60, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run one command of ours in *folder*."""
    return subprocess.run(
        [*PUMP, *args],
        cwd=folder,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@dataclass
class Command:
    """One of ours that goes on, in a session of its own, its output in a file."""

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def says(self, text: str) -> bool:
        return eventually(
            lambda: text in self.log or self.process.poll() is not None, timeout_s=START_S
        ) and (text in self.log)

    def session(self) -> list[int]:
        """Processes of its session that live, itself included."""
        found = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        return [pid for pid in found if self._has(pid)]

    def _has(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return words[0] != "Z" and int(words[3]) == self.process.pid

    def stands(self) -> str:
        """Who of its session still runs, and where, for it does not end; what is asked ends."""
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.session()]
        for pid in self.session():
            # Python says where it stands, under PYTHONFAULTHANDLER.
            os.kill(pid, signal.SIGABRT)
        eventually(lambda: not self.session())
        shown = [command.replace(b"\0", b" ").decode(errors="replace") for command in commands]
        return "\n".join([*shown, self.log])

    def kill(self) -> None:
        """End every process of its session."""
        for pid in self.session():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@contextmanager
def started(
    folder: Path, *args: str, program: list[str] | None = None, **variables: str
) -> Iterator[Command]:
    """A command that runs until the end of the block, or its own."""
    log_path = folder / f"{'-'.join(Path(arg).name for arg in args[:2])}.{os.urandom(4).hex()}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*(program or PUMP), *args],
            cwd=folder,
            env=environment(**(_as_worker(args) | variables)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    command = Command(process, log_path)
    try:
        yield command
    finally:
        command.kill()


def _as_worker(args: tuple[str, ...]) -> dict[str, str]:
    return {ACCOUNT: account("worker")} if "worker" in args[:1] else {}


@dataclass
class Fleet:
    """An organism at work."""

    folder: Path
    url: str
    prefix: str
    commands: list[Command] = field(default_factory=list)

    def pump(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return pump(self.folder, *args, **options)

    def asked(self, *args: str) -> Any:
        """What a command with --json says."""
        done = self.pump(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@contextmanager
def running_fleet(folder: Path, url: str, prefix: str) -> Iterator[Fleet]:
    """One pump and one worker, ready."""
    write_sums(folder, url, prefix)
    with ExitStack() as stack:
        served = stack.enter_context(started(folder, "run", "organism.yaml"))
        worker = stack.enter_context(started(folder, "worker", "organism.yaml"))
        assert served.says("Ctrl-C ends it"), served.log
        assert worker.says(" ready."), worker.log
        yield Fleet(folder, url, prefix, [served, worker])
