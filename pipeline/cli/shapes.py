"""How moments, durations and tables look, the same in every command that shows them."""

import math
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.reporting import printable

#: Milliseconds below which a duration is told in them.
_MS_BELOW = 1000
_MINUTE_S, _HOUR_S = 60, 3600
#: The years 2 to 9998, whatever the time zone.
_FIRST_S, _LAST_S = -62_100_000_000, 253_300_000_000


def local_time(moment: float | None) -> str:
    """Seconds since the epoch as local time; a dash for none, and for what is no moment."""
    then = _moment(moment)
    return "-" if then is None else then.astimezone().strftime("%m-%d %H:%M:%S")


def short_time(moment: float | None) -> str:
    """The same where room is scarce: the time of a moment today, the date of an earlier one."""
    found = _moment(moment)
    if found is None:
        return "-"
    then, now = found.astimezone(), datetime.fromtimestamp(time.time(), UTC).astimezone()
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%b %d")


def iso_time(moment: float | None) -> str | None:
    """Seconds since the epoch, for programs.

    >>> iso_time(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    then = _moment(moment)
    if then is None:
        return None
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(seconds: float | None) -> datetime | None:
    """None too for what lies beyond all calendars: it was read from somebody's record."""
    if seconds is None or not _FIRST_S <= seconds <= _LAST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def duration(seconds: float) -> str:
    """A duration with the unit that suits it.

    >>> duration(0.00042), duration(0.0215), duration(2.5), duration(125)
    ('0.4 ms', '22 ms', '2.5 s', '2 min 5 s')
    """
    if not math.isfinite(seconds):
        return "-"
    ms = seconds * 1000
    if ms < _MS_BELOW:
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"  # noqa: PLR2004 - two digits
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest} s"


#: Characters to which a cell may be folded.
_NARROW = 10


def print_rows(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "", whole: str = ""
) -> None:
    """A table on a terminal, lines with tabs in a pipe; whatever can't be printed is replaced.

    Args:
        right: names of the columns whose cells stand to the right, separated by spaces.
        whole: names of those whose cells are copied, and so never broken.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    least = 0
    for number, head in enumerate(heads):
        justify = "right" if head in right.split() else "left"
        is_whole = head in whole.split()
        table.add_column(head, justify=justify, overflow="fold", no_wrap=is_whole)  # type: ignore[arg-type]
        longest = max(len(head), *(len(row[number]) for row in rows))
        least += 2 + (longest if is_whole else min(longest, _NARROW))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    # What does not fit is for the terminal to wrap: that adds nothing to what is copied from it.
    console.width = max(console.width, least)
    console.print(table)
