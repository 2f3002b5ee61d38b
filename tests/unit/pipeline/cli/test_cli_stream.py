"""What bounds a job's memory, and what its report says."""

import asyncio
import json
import logging

import pytest

from pipeline.cli.logs import FieldsFormatter, configure_logging
from pipeline.cli.reporting import SHOWN_CHARS, Report, Tally, left_out, one_line
from pipeline.cli.stream import Window


async def test_the_window_bounds_lines() -> None:
    """One more enters when one has left."""
    window = Window(lines=2, max_bytes=100)
    await window.enter(1)
    await window.enter(1)
    third = asyncio.create_task(window.enter(1))
    await asyncio.sleep(0)
    assert not third.done()
    window.leave(1)
    await third


async def test_the_window_bounds_bytes_of_lines_and_answers() -> None:
    """An answer that waits to be written takes its room."""
    window = Window(lines=9, max_bytes=100)
    await window.enter(40)
    window.grow(50)
    second = asyncio.create_task(window.enter(20))
    await asyncio.sleep(0)
    assert not second.done()
    window.leave(90)
    await second


async def test_a_line_alone_always_fits() -> None:
    """Else it could never run."""
    await asyncio.wait_for(Window(lines=1, max_bytes=1).enter(1000), timeout=5)


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (Tally(saw_end=True), "every line was run"),
        (Tally(), "the rest of the input was not read"),
        (
            Tally(left_out=1, first_left_out=7, saw_end=True),
            "1 line was left out, from line 7 on",
        ),
        (Tally(left_out=9, first_left_out=7), "line 7 and all after it were left out"),
    ],
)
def test_what_was_left_out(tally: Tally, text: str) -> None:
    """So that whoever goes on knows where."""
    assert left_out(tally) == text


def test_the_first_line_left_out_is_the_lowest() -> None:
    """In whatever order they are counted."""
    tally = Tally()
    for line in (9, 7, 8):
        tally.leave_out(line)
    assert (tally.left_out, tally.first_left_out) == (3, 7)


def test_an_error_is_one_safe_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A handler's words neither break the line nor move the cursor, and have an end."""
    assert one_line("a\n\tb\x1b[2J") == "a b\N{REPLACEMENT CHARACTER}[2J"
    assert len(one_line("x" * 10**6)) == SHOWN_CHARS
    Report(as_json=True).failed([(1, "a\nb", "t"), (2, "c", "")])
    assert [json.loads(line)["error"] for line in capsys.readouterr().err.splitlines()] == [
        "a b",
        "c",
    ]


def test_a_log_line_shows_its_fields() -> None:
    """In the order they were given."""
    record = logging.makeLogRecord(
        {"msg": "task dispatched", "levelname": "INFO", "action": "dispatch", "attempt": 2}
    )
    line = FieldsFormatter().format(record)
    assert line.endswith(" INFO task dispatched action=dispatch attempt=2")


def test_failures_that_are_reported_are_not_logged_as_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless everything is asked for."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    for is_verbose in (False, True):
        configure_logging(is_verbose=is_verbose, hides_failures=True)
        root.warning("handler failed", extra={"action": "fail"})
        root.warning("messages dropped", extra={"action": "shutdown"})
    shown = [line.split("action=")[1] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["shutdown", "fail", "shutdown"]
