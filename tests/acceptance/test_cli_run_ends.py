"""`pump run` as it lives and ends: open pipes, readers that leave, signals."""

import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.jobs import Running, begun, numbers, without_seconds
from tests.waiting import eventually


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
