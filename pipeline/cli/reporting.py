"""What `pump run` tells whoever started it, all of it on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TimeElapsedColumn,
)
from rich.text import Text

#: Characters of an error that are shown.
SHOWN_CHARS = 500


@dataclass
class Tally:
    """How far a job is."""

    answers: int = 0
    errors: int = 0
    #: Of lines whose end is known.
    read_bytes: int = 0
    #: Lines that were read and have no end because of an interrupt, and the first of them.
    left_out: int = 0
    first_left_out: int | None = None
    #: False when there may be lines that nobody has read.
    saw_end: bool = False
    started: float = field(default_factory=time.monotonic)

    def add(self, *, answers: int, errors: int, read_bytes: int) -> None:
        """Count lines that have ended."""
        self.answers += answers
        self.errors += errors
        self.read_bytes += read_bytes

    def leave_out(self, line: int) -> None:
        """Count a line that will not run, or not to its end."""
        self.left_out += 1
        self.first_left_out = min(line, self.first_left_out or line)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started


class Report:
    """Tells errors as they come, and the sum at the end.

    Args:
        as_json: as JSON objects, a line each.
        is_verbose: with the traceback of a handler's error.
    """

    def __init__(self, *, as_json: bool = False, is_verbose: bool = False) -> None:
        self.tally = Tally()
        self._as_json = as_json
        self._is_verbose = is_verbose
        self._on_advance: Callable[[], object] = lambda: None

    def failed(self, failures: list[tuple[int, str, str]]) -> None:
        """Some lines have no answer: their number, why, and a handler's traceback or nothing."""
        if failures:
            say("\n".join(self._failure(*failure) for failure in failures))

    def _failure(self, line: int, error: str, traceback: str) -> str:
        text = one_line(error)
        if self._as_json:
            return json.dumps({"line": line, "error": text})
        frames = f"\n{printable_lines(traceback)}" if self._is_verbose and traceback else ""
        return f"line {line}: {text}{frames}"

    def note(self, text: str) -> None:
        """Something worth knowing; not for programs."""
        if not self._as_json:
            say(text)

    def finish(self, *, is_interrupted: bool) -> None:
        """Tell the sum."""
        tally = self.tally
        if self._as_json:
            say(json.dumps(_facts(tally, is_interrupted=is_interrupted)))
            return
        if is_interrupted:
            say(f"interrupted; {left_out(tally)}")
        say(
            f"{counted(tally.answers, 'answer')}, {counted(tally.errors, 'error')}"
            f" in {tally.seconds:.1f} s"
        )

    def advance(self) -> None:
        """The tally has changed."""
        self._on_advance()

    @contextmanager
    def progress(self, size: int | None, *, is_shown: bool) -> Iterator[None]:
        """Show a bar meanwhile, where that is wanted and stderr is a terminal.

        Args:
            size: bytes there are to read, where that is known.
        """
        console = Console(stderr=True)
        if not is_shown or not console.is_interactive:
            yield
            return
        percent = [TaskProgressColumn()] if size else []
        columns = (BarColumn(20), *percent, _Counts(self.tally), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=size or None)
            self._on_advance = lambda: bar.update(task, completed=self.tally.read_bytes)
            try:
                yield
            finally:
                self._on_advance = lambda: None


class _Counts(ProgressColumn):
    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich's signature
        tally = self._tally
        rate = (tally.answers + tally.errors) / max(tally.seconds, 0.001)
        failed = Text(f"{tally.errors:,} failed", style="red" if tally.errors else "")
        return Text.assemble(f"{tally.answers:,} done  ", failed, f"  {rate:,.0f}/s")


def _facts(tally: Tally, *, is_interrupted: bool) -> dict[str, object]:
    return {
        "answers": tally.answers,
        "errors": tally.errors,
        "seconds": round(tally.seconds, 3),
        "interrupted": is_interrupted,
        "left_out": tally.left_out,
        "first_left_out": tally.first_left_out,
        "saw_end": tally.saw_end,
    }


def left_out(tally: Tally) -> str:
    """Which lines an interrupt left out, as far as that is known.

    >>> left_out(Tally(left_out=2, first_left_out=7, saw_end=True))
    '2 lines were left out, from line 7 on'
    >>> left_out(Tally(left_out=2, first_left_out=7))
    'line 7 and all after it were left out'
    """
    if tally.first_left_out is None:
        return "every line was run" if tally.saw_end else "the rest of the input was not read"
    if not tally.saw_end:
        return f"line {tally.first_left_out} and all after it were left out"
    was = "was" if tally.left_out == 1 else "were"
    return f"{counted(tally.left_out, 'line')} {was} left out, from line {tally.first_left_out} on"


def counted(number: int, name: str) -> str:
    """*number* with the name of what is counted.

    >>> counted(1, "line"), counted(1200, "line")
    ('1 line', '1,200 lines')
    """
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    r"""*text* on one line, of bounded length, safe to show on a terminal.

    >>> one_line("a\n  b\x1b[2J")
    'a b�[2J'
    """
    flat = " ".join(text[: 2 * SHOWN_CHARS].split())
    cut = flat if len(flat) <= SHOWN_CHARS else flat[: SHOWN_CHARS - 1] + "…"
    return printable(cut)


def printable(text: str) -> str:
    r"""*text*, which somebody else has written, safe to show: it moves no cursor, ends no line.

    >>> printable("a\tb\x1b[2J")
    'a�b�[2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def printable_lines(text: str) -> str:
    """The same of a text of many lines, such as a traceback from elsewhere."""
    return "\n".join(map(printable, text.rstrip().splitlines()))


def say(text: str) -> None:
    """Write a line to stderr, at once; above the bar while one is shown."""
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
