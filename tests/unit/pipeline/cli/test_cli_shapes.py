"""How what stands in a record is shown, whoever wrote it."""

import logging

import pytest

from pipeline.cli.logs import FieldsFormatter
from pipeline.cli.shapes import duration, iso_time, local_time, print_rows, short_time

NO_MOMENTS = [float("nan"), float("inf"), -float("inf"), 1e300, -1e13, 1e12]


@pytest.mark.parametrize("moment", NO_MOMENTS)
def test_what_is_no_moment_is_a_dash(moment: float) -> None:
    assert (local_time(moment), short_time(moment), iso_time(moment)) == ("-", "-", None)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_what_is_no_duration_is_a_dash(seconds: float) -> None:
    assert duration(seconds) == "-"


def test_a_cell_is_one_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands in it ends no row and no column, and moves no cursor."""
    print_rows(("A", "B"), [("a\tb\nc", "\x1b[2J")])
    assert capsys.readouterr().out == "a\ufffdb\ufffdc\t\ufffd[2J\n"


def test_an_event_is_one_line() -> None:
    """A field can't make up another event."""
    record = logging.makeLogRecord({"msg": "settled", "listener": "a\n12:00:00 ERROR b"})
    assert FieldsFormatter().format(record).endswith("settled listener=a\ufffd12:00:00 ERROR b")


def test_an_id_is_never_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are folded first; then the line is longer than the terminal, and nothing is cut."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    for size in (20, 60):
        print_rows(("Id", "Words"), [("i" * size, "a word or two and three")], whole="Id")
        lines = capsys.readouterr().out.splitlines()
        assert "i" * size in lines[1]
        told = " ".join(line.replace("i" * size, "").strip() for line in lines[1:])
        assert " ".join(told.split()) == "a word or two and three"
