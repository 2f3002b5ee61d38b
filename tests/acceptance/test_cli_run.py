"""`pump run`, from outside: what goes in, what comes out, what is wrong."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.jobs import (
    NO_SUCH_KEYS,
    ORGANISM,
    PUMP,
    RICH,
    TOO_BIG,
    environment,
    numbers,
    run,
    without_seconds,
)

README = Path(__file__).parents[2] / "README.md"


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
        env=environment(),
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
            env={**environment(), "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"},
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
