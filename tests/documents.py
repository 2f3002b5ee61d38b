"""The code in our documents: what stands in a page, and a reader who types all of it.

A block whose first line is `# NAME.EXT` is that file. A `yaml` block without a name is a part of
an organism's file. In a `console` block `$ ` begins a command, what follows is its output: `…`
stands for anything, alone on a line for any lines; ids, times, durations and processes may differ,
but an id is the same wherever it stands. A comment before a block tells what is special about it:

    <!-- stays -->            its last command goes on until the end of the document; what stands
                              between `…` comes in any order
    <!-- fails -->            its last command does not end with 0
    <!-- as in PAGE -->       its commands are run where they stand in that page
    <!-- run by TEST -->      the test in that file runs it
    <!-- not run: REASON -->  it can't be run by a test
    <!-- in SECTION -->       each line of it stands in that section of an organism's file
"""

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.waiting import eventually

ROOT = Path(__file__).parents[1]
#: Seconds for one command, and for what stays to begin or to end, on a busy machine.
PATIENCE_S = 90.0
#: Of the terminal.
COLUMNS, LINES = 100, 40
#: Marks of blocks that are not typed.
_PASSED_OVER = ("not run", "as in", "run by")
#: Of a terminal that does not show what it should.
_SHOWN_CHARS = 5000

#: What would tell a command of another organism, Redis or place for its files than the document's.
_FOREIGN = (
    "ORGANISM",
    "REDIS_URL",
    "BROKER_URL",
    "BACKEND",
    "WORKERS",
    "PUMP_SIGNING_KEY",
    "TMPDIR",
)

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
#: What is the same wherever it stands in a document, and another each time it is run.
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:[.~/][\w.~/-]+)?|/tmp/pump-redis-\w+"
#: What may differ, and what it may be instead: times, durations, addresses, processes, columns.
_VARIES = [
    (r"\d\d:\d\d:\d\d", r"\d\d:\d\d:\d\d"),
    (r"\d[\d,.]* m?s\b", r"\d[\d,.]* m?s"),
    (r"127\.0\.0\.1:\d+", r"127\.0\.0\.1:\d+"),
    (r"[A-Za-z][\w.-]*:\d{3,7}\b", r"[\w.-]+:\d+"),
    (r" {2,}\d{3,7}\b(?!\.)", r" +\d+"),
    (r" {2,}", " +"),
    ("…", "[^\n]*"),
]
_TOKEN = re.compile("|".join([f"(?P<id>{_ID})", *(f"({each})" for each, _ in _VARIES)]))
_FIRST = _TOKEN.groupindex["id"] + 1
_ANY_LINES = "(?:[^\n]*\n)*?"
_ESCAPES = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|\r")


@dataclass(frozen=True)
class Block:
    """One block of code; *text* ends with a newline."""

    page: str
    line: int
    kind: str
    text: str
    mark: str = ""

    @property
    def file(self) -> str:
        """The file it is, or nothing."""
        found = _FILE.match(self.text)
        return found[1] if found and self.kind != "console" else ""

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command with the output that is shown."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [_command_and_output(part) for part in parts]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _command_and_output(part: str) -> tuple[str, str]:
    lines = part.splitlines(keepends=True)
    # `\` at the end of a line goes on in the next.
    count = next(index for index, line in enumerate(lines, 1) if not line.endswith("\\\n"))
    return "".join(lines[:count]).rstrip("\n"), "".join(lines[count:])


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(
            name,
            text.count("\n", 0, each.start("text")),
            each["kind"],
            each["text"],
            each["mark"] or "",
        )
        for each in _BLOCK.finditer(text)
    ]


class Reader:
    """Does what documents say, in a folder and a terminal of its own.

    Args:
        programs: a folder that comes first on the path.
        ours: what to type instead of what is written, such as a free port.
    """

    def __init__(self, folder: Path, *, programs: Path, ours: dict[str, str]) -> None:
        self.folder = folder
        self._ours = ours
        self._state = folder.parent / "shell"
        path = os.pathsep.join(
            [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        self._state.write_text(f"export PATH={shlex.quote(path)}\ncd {shlex.quote(str(folder))}\n")
        #: Ids as they are written, to what they are here.
        self._ids: dict[str, str] = {}
        self._staying: list[Typed] = []

    def follow(self, blocks: list[Block]) -> None:
        """Write the files and type the commands; what must not or can't be run is passed over."""
        for block in blocks:
            if block.file:
                path = self._here() / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._as_ours(block.text))
            elif block.kind == "console" and not block.mark.startswith(_PASSED_OVER):
                self._type(block)

    def leave(self) -> None:
        """Ctrl-C for whatever stayed, last come first; it must end."""
        staying, self._staying = self._staying, []
        try:
            for each in reversed(staying):
                each.interrupt()
        finally:
            for each in staying:
                each.kill()

    def _type(self, block: Block) -> None:
        *others, last = block.commands
        for command, output in others:
            self._run(block, command, output)
        if block.mark == "stays":
            self._stay(block, *last)
        else:
            self._run(block, *last, is_failure=block.mark == "fails")

    def _run(self, block: Block, command: str, output: str, *, is_failure: bool = False) -> None:
        typed = self._start(command)
        try:
            code = typed.process.wait(PATIENCE_S)
        finally:
            typed.kill()
        assert (code != 0) == is_failure, f"{block}: {command}: exit {code}\n{typed.output}"
        self._compare(block, command, output, typed.output, goes_on=False)

    def _stay(self, block: Block, command: str, output: str) -> None:
        typed = self._start(command)
        self._staying.append(typed)
        pattern, _ = self._pattern(output, goes_on=True)
        eventually(
            lambda: bool(pattern.match(typed.output)) or typed.process.poll() is not None,
            timeout_s=PATIENCE_S,
        )
        self._compare(block, command, output, typed.output, goes_on=True)

    def _compare(self, block: Block, command: str, wanted: str, got: str, *, goes_on: bool) -> None:
        pattern, ids = self._pattern(wanted, goes_on=goes_on)
        found = pattern.match(got)
        shown = got[:_SHOWN_CHARS]
        assert found, f"{block}: {command}\n--- the document\n{wanted}--- the terminal\n{shown}"
        self._ids |= {written: found[group] for written, group in ids.items()}
        assert len({*self._ids.values()}) == len(self._ids), f"{block}: {command}: {self._ids}"

    def _pattern(self, wanted: str, *, goes_on: bool) -> tuple[re.Pattern[str], dict[str, str]]:
        """What *wanted* stands for, and the group of each id that is new."""
        ids: dict[str, str] = {}

        def varying(token: re.Match[str]) -> str:
            written = token[0]
            if token["id"] is None:
                return _VARIES[(token.lastindex or 0) - _FIRST][1]
            if written in self._ids:
                return re.escape(self._ids[written])
            if written in ids:
                return f"(?P={ids[written]})"
            ids[written] = f"id{len(ids)}"
            return f"(?P<{ids[written]}>{_ID})"

        parts = [""]
        for line in self._as_ours(wanted).splitlines():
            if line.strip() == "…":
                parts.append("")
            else:
                parts[-1] += _filled(line.rstrip(), varying) + " *\n"
        if goes_on:
            # Several programs write there: who comes first may differ.
            first, *others = parts
            return re.compile(first + "".join(f"(?={_ANY_LINES}{part})" for part in others)), ids
        return re.compile(_ANY_LINES.join(parts) + r"\Z"), ids

    def _start(self, command: str) -> "Typed":
        # In this order: an id from here may hold the digits of a port in the document.
        command = self._as_ours(command)
        for written, here in self._ids.items():
            command = command.replace(written, here)
        script = (
            f". {self._state}\n{command}\n_code=$?\n"
            f'{{ export -p; printf "cd %q\\n" "$PWD"; }} > {self._state}\nexit $_code'
        )
        return Typed.start(script, self.folder)

    def _here(self) -> Path:
        """Where the shell is."""
        return Path(shlex.split(self._state.read_text().splitlines()[-1])[1])

    def _as_ours(self, text: str) -> str:
        for written, here in self._ours.items():
            text = text.replace(written, here)
        return text


def _filled(line: str, varying: Callable[[re.Match[str]], str]) -> str:
    """*line* as a pattern, with what varies replaced."""
    parts, end = [], 0
    for token in _TOKEN.finditer(line):
        parts += [re.escape(line[end : token.start()]), varying(token)]
        end = token.end()
    return "".join([*parts, re.escape(line[end:])])


class Typed:
    """A command in a terminal of its own, and what that shows."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, script: str, folder: Path) -> Self:
        """As a shell runs it that a person types to."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (LINES, COLUMNS))
        variables = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=variables | {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": str(COLUMNS)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        return cls(process, ours)

    @property
    def output(self) -> str:
        """All of it so far, without a terminal's commands."""
        if self.process.poll() is not None:
            # What it wrote last may still be on its way.
            self._reader.join(1.0)
        return _ESCAPES.sub("", bytes(self._shown).decode(errors="replace"))

    def interrupt(self) -> None:
        """Ctrl-C, and wait for its end."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        os.close(self._terminal)

    def _read(self) -> None:
        # A terminal whose programs have all ended is an error to read from.
        with suppress(OSError):
            while part := os.read(self._terminal, 65536):
                self._shown += part
