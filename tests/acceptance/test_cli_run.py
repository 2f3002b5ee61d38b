"""`pump run`, from outside."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.waiting import eventually

PUMP = [sys.executable, "-m", "pipeline.cli.main"]
README = Path(__file__).parents[2] / "README.md"

HANDLERS = """
import asyncio, enum, os, sys, time
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from pipeline import HandlerResponse

@dataclass
class Number:
    n: int

class Colour(enum.Enum):
    RED = "red"

@dataclass
class Rich:
    when: datetime
    id: UUID
    price: Decimal
    colour: Colour
    inner: Number
    more: list[Number] = field(default_factory=list)
    by_name: dict[str, Number] = field(default_factory=dict)
    maybe: Number | None = None

    def __post_init__(self):
        if self.inner.n < 0:
            raise ValueError(f"secret {self.inner.n}")

@dataclass
class Opaque:
    pairs: dict[tuple[int, int], int]

async def echo(payload, metadata):
    return HandlerResponse.respond(payload)

async def late_first(payload, metadata):
    await asyncio.sleep(0.2 / payload.n)
    return HandlerResponse.respond(payload)

async def noisy(payload, metadata):
    print("noise")
    return HandlerResponse.respond(payload)

async def moody(payload, metadata):
    if payload.n == 1:
        raise ValueError("not\\none")
    if payload.n == 2:
        return None
    if payload.n == 3:
        return HandlerResponse.respond(Opaque({(1, 2): 3}))
    return HandlerResponse.respond(payload)

def wait_for_gate(payload, metadata):
    Path(f"begun.{payload.n}").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return HandlerResponse.respond(payload)
"""

ORGANISM = """
organism: {name: demo}
backend: {max_threads: 1000}
process_pool: {workers: 1}
limits: {max_payload_bytes: 1000}
listeners:
  - {name: echo, payload_class: handlers.Number, handler: handlers.echo}
  - {name: rich, payload_class: handlers.Rich, handler: handlers.echo}
  - {name: late-first, payload_class: handlers.Number, handler: handlers.late_first}
  - {name: noisy, payload_class: handlers.Number, handler: handlers.noisy}
  - {name: moody, payload_class: handlers.Number, handler: handlers.moody}
  - {name: thread, payload_class: handlers.Number, handler: handlers.wait_for_gate}
"""
CPU_BOUND = """
  - {name: gate, payload_class: handlers.Number, handler: handlers.wait_for_gate, cpu_bound: true}
"""
RICH = (
    '{"when":"2026-01-02T03:04:05Z","id":"12345678-1234-5678-1234-567812345678","price":"1.10",'
    '"colour":"red","inner":{"n":1},"more":[{"n":2}],"by_name":{"a":{"n":3}},"maybe":null}\n'
)
#: msgspec's own words.
TOO_BIG = "can't serialize ints < -2**63 or > 2**64 - 1"
NO_SUCH_KEYS = "Only dicts with str-like or number-like keys are supported"


def numbers(last: int) -> str:
    return "".join(f'{{"n":{n}}}\n' for n in range(1, last + 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "organism.yaml").write_text(ORGANISM)
    return tmp_path


@pytest.fixture
def gated(folder: Path) -> Path:
    """Two lines are in flight at a time, in a process that waits for the file `gate`."""
    text = (ORGANISM + CPU_BOUND).replace("1000}\nprocess", "2}\nprocess")
    (folder / "organism.yaml").write_text(text)
    return folder


def run(folder: Path, *args: str, lines: str | bytes = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PUMP, "run", *args],
        cwd=folder,
        env=_environment(),
        input=lines.encode() if isinstance(lines, str) else lines,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "ORGANISM"}


class Running:
    """The command in a session of its own, with pipes to it."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [*PUMP, "run", *args],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def interrupt(self, number: signal.Signals) -> None:
        """As a terminal or a supervisor does it: to every process at once."""
        os.killpg(self.process.pid, number)

    def read_error(self) -> str:
        """The next line of stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def read_answer(self) -> str:
        """The next line of stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def send(self, lines: str) -> None:
        """Write to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(lines)
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout and stderr from here on."""
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors

    def survivors(self) -> list[int]:
        """Processes of its session that still live."""
        return [pid for pid in _processes() if _session(pid) == self.process.pid]


@pytest.fixture
def running() -> Iterator[list[Running]]:
    """Whatever a test starts and does not end is ended here."""
    started: list[Running] = []
    yield started
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate()


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _session(pid: int) -> int | None:
    """The session of a process; None for one that is gone, or dead and not yet reaped."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(session)


def begun(folder: Path, *wanted: int) -> bool:
    return all((folder / f"begun.{n}").exists() for n in wanted)


def test_the_example_in_the_readme(tmp_path: Path) -> None:
    """Its files, its command, its output: to the letter."""
    text = README.read_text()
    for language, name in (("python", "handlers.py"), ("yaml", "organism.yaml")):
        block = re.search(rf"```{language}\n# {name}\n(.*?)```", text, re.DOTALL)
        assert block
        (tmp_path / name).write_text(block[1])
    console = re.search(r"\$ echo '(.*?)' \| pump (run .*?)\n(.*?)\n(.*?)\n```", text)
    assert console
    lines, command, answer, summary = console.groups()
    done = run(tmp_path, *command.split()[1:], lines=f"{lines}\n")
    assert (done.returncode, done.stdout) == (0, f"{answer}\n")
    assert without_seconds(done.stderr) == without_seconds(f"{summary}\n")


def without_seconds(text: str) -> str:
    return re.sub(r"[\d.]+ s", "0 s", text)


def test_files_in_and_out(folder: Path) -> None:
    """The output's former content gives way; stdout stays empty."""
    (folder / "in.jsonl").write_text(numbers(3))
    (folder / "out.jsonl").write_text("old\n" * 100)
    done = run(folder, "--to", "echo", "--input", "in.jsonl", "--output", "out.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    assert without_seconds(done.stderr) == "3 answers, 0 errors in 0 s\n"
    assert (folder / "out.jsonl").read_text() == numbers(3)


def test_answers_come_in_the_order_of_their_lines(folder: Path) -> None:
    """The first line's handler ends last, and its answer is the first."""
    done = run(folder, "--to", "late-first", lines=numbers(20))
    assert (done.returncode, done.stdout) == (0, numbers(20))


def test_payloads_may_hold_what_json_has_no_word_for(folder: Path) -> None:
    """Times, ids, decimals, enums and dataclasses within one another."""
    done = run(folder, "--to", "rich", lines=RICH)
    assert (done.returncode, done.stdout) == (0, RICH)


def test_nothing_in_is_nothing_out(folder: Path) -> None:
    """Blank lines are no lines, and no line is no failure."""
    for lines in ("", "\n  \n\r\n"):
        done = run(folder, "--to", "echo", "--output", "out.jsonl", lines=lines)
        assert (done.returncode, done.stdout) == (0, "")
        assert (folder / "out.jsonl").read_text() == ""
    assert without_seconds(done.stderr) == "0 answers, 0 errors in 0 s\n"


def test_the_last_line_needs_no_newline(folder: Path) -> None:
    """Nor is a byte order mark, or a carriage return, anything to stumble over."""
    done = run(folder, "--to", "echo", lines='\ufeff{"n":1}\r\n{"n":2}')
    assert (done.returncode, done.stdout) == (0, numbers(2))


def test_a_bad_line_is_reported_and_the_rest_runs(folder: Path) -> None:
    """Each with its number, in order, and without a word of what stood on it."""
    lines = [
        b'{"n":1}',
        b'{"n":"secret"}',
        b'{"n":"\xff"}',
        b'{"secret":1',
        b"secret",
        b"",
        b"[1]",
        b"{}",
        b'{"n":1,"secret":2}',
        b'{"N":1}',
        b'{"n":' + b" " * 6000 + b"1}",
        b'{"n":1' + b"0" * 2000 + b"}",
        b"[" * 100_000,
        b'{"n":2}',
    ]
    done = run(folder, "--to", "echo", lines=b"\n".join(lines))
    assert (done.returncode, done.stdout) == (1, numbers(2))
    assert without_seconds(done.stderr).splitlines() == [
        "line 2: Expected `int`, got `str` - at `$.n`",
        "line 3: not UTF-8",
        "line 4: JSON is malformed: it ends too early",
        "line 5: JSON is malformed: invalid character (byte 0)",
        "line 7: Expected `object`, got `array`",
        "line 8: Object missing required field `n`",
        'line 9: Number has no such field; it has "n"',
        'line 10: Number has no such field; it has "n"',
        "line 11: too long for limits.max_payload_bytes (1000)",
        f"line 12: handlers.Number can't be encoded: {TOO_BIG}",
        "line 13: too long for limits.max_payload_bytes (1000)",
        "2 answers, 11 errors in 0 s",
    ]


def test_a_bad_value_deep_inside_is_told_by_its_place(folder: Path) -> None:
    """Neither an enum's value, an unknown key nor a class's own refusal gives it away."""
    bad = [
        RICH.replace("red", "secret"),
        RICH.replace('[{"n":2}]', '[{"n":2,"secret":1}]'),
        RICH.replace('"a":{"n":3}', '"secret":{"n":"secret"}'),
        RICH.replace('"inner":{"n":1}', '"inner":{"n":-1}'),
        RICH.replace("1.10", "secret"),
        RICH.replace('"maybe"', '"mabe"'),
    ]
    done = run(folder, "--to", "rich", lines="".join(bad))
    assert (done.returncode, done.stdout) == (1, "")
    assert "secret" not in done.stderr
    assert done.stderr.splitlines()[:-1] == [
        "line 1: a value that is not allowed - at `$.colour`",
        'line 2: Number has no such field; it has "n" - at `$.more[0]`',
        "line 3: Expected `int`, got `str` - at `$.by_name[...].n`",
        "line 4: Rich refused it with ValueError",
        "line 5: Invalid decimal string - at `$.price`",
        'line 6: Rich has no such field; did you mean "maybe"?',
    ]


def test_a_line_without_an_answer_is_an_error(folder: Path) -> None:
    """Its handler raised, nobody answered, or JSON has no form for the answer: exit 1."""
    done = run(folder, "--to", "moody", lines=numbers(4))
    assert (done.returncode, done.stdout) == (1, '{"n":4}\n')
    assert without_seconds(done.stderr).splitlines() == [
        "line 1: moody: ValueError: not one",
        "line 2: the conversation ended without an answer",
        f"line 3: the answer, Opaque, can't be written as JSON: {NO_SUCH_KEYS}",
        "1 answer, 3 errors in 0 s",
    ]


def test_verbose_shows_where_a_handler_failed(folder: Path) -> None:
    """The log tells fields, not payloads; the traceback follows its line."""
    done = run(folder, "--to", "moody", "-v", lines=numbers(1))
    assert re.search(r"^[\d:]+ WARNING handler failed action=fail listener=moody ", done.stderr)
    assert "\nline 1: moody: ValueError: not one\nTraceback " in done.stderr


def test_json_for_programs(folder: Path) -> None:
    """Every line on stderr is an object, the last one the sum."""
    done = run(folder, "--to", "moody", "--json", lines=numbers(4))
    *errors, summary = map(json.loads, done.stderr.splitlines())
    assert [each["line"] for each in errors] == [1, 2, 3]
    assert errors[0]["error"] == "moody: ValueError: not one"
    assert summary.pop("seconds") > 0
    assert summary == {
        "answers": 1,
        "errors": 3,
        "interrupted": False,
        "left_out": 0,
        "first_left_out": None,
        "saw_end": True,
    }


def test_what_handlers_print_is_no_answer(folder: Path) -> None:
    """Stdout belongs to the answers."""
    done = run(folder, "--to", "noisy", lines=numbers(2))
    assert (done.returncode, done.stdout) == (0, numbers(2))
    assert done.stderr.count("noise\n") == 2


WRONG = {
    ("--to", "ech"): 'for --to: no listener is called "ech"; did you mean "echo"?',
    ("--to", "echo", "--input", "nope"): "for --input: nope: No such file or directory",
    ("--to", "echo", "--input", "."): "for --input: .: Is a directory",
    ("--to", "echo", "--output", "no/where"): "for --output: no/where: No such file or directory",
    ("--to", "echo", "--input", "i", "--output", "./i"): "--output is the same file as --input",
    ("--input", "i"): "--input, --output and --json need --to",
    ("--output", "-"): "--input, --output and --json need --to",
    ("--json",): "--input, --output and --json need --to",
}


@pytest.mark.parametrize("args", WRONG, ids=" ".join)
def test_wrong_usage_is_exit_2(folder: Path, args: Sequence[str]) -> None:
    """One line says what is wrong, before any work."""
    (folder / "i").write_text(numbers(1))
    done = run(folder, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("pump run: ")
    assert WRONG[tuple(args)] in done.stderr
    assert (folder / "i").read_text() == numbers(1)


def test_a_class_that_json_does_not_tell_apart_is_exit_2(folder: Path) -> None:
    """The error names it."""
    with (folder / "handlers.py").open("a") as code:
        code.write("\n@dataclass\nclass Either:\n    one: Number | Rich\n")
    (folder / "organism.yaml").write_text(ORGANISM.replace("handlers.Rich", "handlers.Either"))
    done = run(folder, "--to", "rich")
    assert (done.returncode, done.stdout) == (2, "")
    assert "for --to: Either can't be read from JSON: Type unions may not" in done.stderr


def test_a_wrong_organism_is_exit_2(folder: Path) -> None:
    """As `pump check` tells it."""
    (folder / "organism.yaml").write_text(ORGANISM.replace("handlers.moody", "handlers.mody"))
    done = run(folder, "--to", "echo")
    assert done.returncode == 2
    assert 'did you mean "moody"?' in done.stderr


def test_an_output_that_takes_nothing_fails_the_job(folder: Path) -> None:
    """A full disk: exit 1, one line."""
    done = run(folder, "--to", "echo", "--output", "/dev/full", lines=numbers(1))
    assert (done.returncode, done.stderr) == (1, "pump: [Errno 28] No space left on device\n")


def test_answers_do_not_wait_for_the_end_of_the_input(folder: Path, running: list[Running]) -> None:
    """Line by line through a pipe that stays open."""
    running.append(job := Running(folder, "--to", "echo"))
    for n in (1, 2):
        job.send(f'{{"n":{n}}}\n')
        assert job.read_answer() == f'{{"n":{n}}}\n'
    assert job.end()[0] == 0


def test_a_reader_that_leaves_ends_the_job_quietly(folder: Path, running: list[Running]) -> None:
    """Exit 1, though the input is still open."""
    running.append(job := Running(folder, "--to", "echo"))
    job.send(numbers(1))
    assert job.read_answer() == numbers(1)
    assert job.process.stdout is not None
    job.process.stdout.close()
    job.send(numbers(1))
    assert job.process.wait(timeout=30) == 1
    assert job.read_error() == ""


def _read_terminal(fd: int) -> str:
    """Everything a terminal shows until nobody writes to it; closes *fd*."""
    shown = b""
    with suppress(OSError):  # Linux: EIO where others tell an end of file
        while chunk := os.read(fd, 65536):
            shown += chunk
    os.close(fd)
    return shown.decode()


def test_a_terminal_shows_a_bar_while_answers_go_to_a_file(folder: Path) -> None:
    """At 80 columns no line is wider; what stays is the errors and the sum."""
    reader, writer = pty.openpty()
    with (folder / "out.jsonl").open("w") as answers:
        job = subprocess.Popen(
            [*PUMP, "run", "--to", "moody"],
            cwd=folder,
            env={**_environment(), "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"},
            stdin=subprocess.PIPE,
            stdout=answers,
            stderr=writer,
        )
    os.close(writer)
    assert job.stdin is not None
    with job.stdin as lines:
        lines.write(numbers(1000).encode())
    shown = _read_terminal(reader)
    assert job.wait(timeout=30) == 1
    assert re.search(r"[\d,]+ done  \d failed  [\d,]+/s 0:00:0\d", shown)
    plain = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown)
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= 80
    assert without_seconds(plain).endswith("997 answers, 3 errors in 0 s\r\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_drains(gated: Path, running: list[Running], number: signal.Signals) -> None:
    """What is in flight is answered, what is not is counted, and no process is left."""
    (gated / "in.jsonl").write_text(numbers(5))
    running.append(job := Running(gated, "--to", "gate", "--input", "in.jsonl"))
    assert eventually(lambda: begun(gated, 1), timeout_s=30)
    job.interrupt(number)
    assert job.read_error() == "finishing what is in flight; Ctrl-C again stops at once\n"
    (gated / "gate").touch()
    code, out, errors = job.end()
    assert (code, out) == (130, numbers(2))
    assert without_seconds(errors).splitlines() == [
        "interrupted; 3 lines were left out, from line 3 on",
        "2 answers, 0 errors in 0 s",
    ]
    assert eventually(lambda: not job.survivors())


def test_an_interrupt_does_not_wait_for_a_pipe(folder: Path, running: list[Running]) -> None:
    """An input that stays open and silent holds nobody up."""
    running.append(job := Running(folder, "--to", "echo"))
    job.send(numbers(1))
    assert job.read_answer() == numbers(1)
    job.interrupt(signal.SIGINT)
    assert job.process.wait(timeout=30) == 130
    assert "the rest of the input was not read" in job.end()[2]


@pytest.mark.parametrize("listener", ["gate", "thread"])
def test_a_second_interrupt_stops_at_once(
    gated: Path, running: list[Running], listener: str
) -> None:
    """Whatever a handler does, in a process or in a thread that can't be cancelled."""
    (gated / "in.jsonl").write_text(numbers(5))
    running.append(job := Running(gated, "--to", listener, "--input", "in.jsonl"))
    assert eventually(lambda: begun(gated, 1), timeout_s=30)
    job.interrupt(signal.SIGINT)
    assert job.read_error().startswith("finishing what is in flight")
    asked = time.monotonic()
    job.interrupt(signal.SIGINT)
    code, out, errors = job.end()
    assert (code, out) == (130, "")
    assert time.monotonic() - asked < 10
    assert "left out" in errors
    assert "Traceback" not in errors
    assert eventually(lambda: not job.survivors())


def test_an_interrupt_while_starting_is_clean(gated: Path, running: list[Running]) -> None:
    """The processes of the pool are on their way up; nothing is left, nothing complains."""
    running.append(job := Running(gated, "--to", "gate"))
    assert eventually(lambda: len(job.survivors()) > 1, timeout_s=30)
    job.interrupt(signal.SIGINT)
    code, out, errors = job.end()
    assert (code, out) == (130, "")
    assert "Traceback" not in errors
    assert eventually(lambda: not job.survivors())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_lines_it_runs_until_interrupted(
    folder: Path, running: list[Running], number: signal.Signals
) -> None:
    """That is how it ends: exit 0."""
    running.append(job := Running(folder))
    assert job.read_error() == "demo runs with 6 listeners; Ctrl-C ends it\n"
    job.interrupt(number)
    code, out, _ = job.end()
    assert (code, out) == (0, "")


def _peak_mib(folder: Path, lines: int) -> float:
    (folder / "in.jsonl").write_text(numbers(lines))
    command = [*PUMP, "run", "--to", "echo", "--input", "in.jsonl", "--output", "out.jsonl"]
    # From a small process: a child's peak counts what its parent had when it was forked.
    script = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert (folder / "out.jsonl").read_text() == numbers(lines)
    return int(done.stdout) / (1024 if sys.platform == "linux" else 1024**2)


def test_memory_does_not_grow_with_the_input(folder: Path) -> None:
    """Thirty times the lines, the same peak but for a few MiB of warming up."""
    few, many = _peak_mib(folder, 2_000), _peak_mib(folder, 60_000)
    assert many - few < 8
