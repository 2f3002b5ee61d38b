"""The report as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from audit.payloads import Place, Report
from audit.reporting import figures

#: Skipped files that the tables list; the files on disk list them all.
SHOWN_SKIPPED = 10


def tables(report: Report) -> RenderableType:
    """Everything worth a look, in the order of interest."""
    return Group(
        Text(f"Audit of {report.root}"),
        _totals(report),
        _places("Most complex functions", "Complexity", report.most_complex, "complexity"),
        _places("Longest functions", "Lines", report.longest, "lines"),
        _pairs("Most imported modules", ("Module", "Imported by"), report.most_imported),
        _clones(report),
        _skipped(report),
    )


def _totals(report: Report) -> Table:
    return _pairs(None, ("", ""), figures(report), header=False)


def _table(title: str | None, *, header: bool = True) -> Table:
    return Table(
        title=title and f"\n{title}",
        title_justify="left",
        show_header=header,
        box=None,
        pad_edge=False,
    )


def _pairs(
    title: str | None,
    heads: tuple[str, str],
    rows: Sequence[tuple[str, str | int]],
    *,
    header: bool = True,
) -> Table:
    table = _table(title, header=header)
    table.add_column(heads[0])
    table.add_column(heads[1], justify="right")
    for name, value in rows:
        table.add_row(Text(name), str(value))
    return table


def _places(title: str, head: str, places: Sequence[Place], figure: str) -> Table:
    table = _table(title)
    table.add_column(head, justify="right")
    table.add_column("Function", overflow="fold")
    table.add_column("Where", overflow="fold")
    for place in places:
        where = Text(f"{place.path}:{place.line}")
        table.add_row(str(getattr(place, figure)), Text(place.name), where)
    return table


def _clones(report: Report) -> Table:
    table = _table(f"Largest clone groups, of {report.clones_found:,}")
    for head in ("Repeated", "Lines", "Places"):
        table.add_column(head, justify="right")
    table.add_column("First of them", overflow="fold")
    for group in report.clone_groups:
        first = group.places[0]
        place = Text(f"{first.path}:{first.line} {first.name}")
        table.add_row(str(group.repeated), str(group.lines), str(group.count), place)
    return table


def _skipped(report: Report) -> Table:
    table = _table(f"Skipped files: {len(report.skipped)}")
    table.add_column("File", overflow="fold")
    table.add_column("Why", overflow="fold")
    for each in report.skipped[:SHOWN_SKIPPED]:
        table.add_row(Text(each.path), Text(each.reason))
    if len(report.skipped) > SHOWN_SKIPPED:
        table.add_row("…", f"{len(report.skipped) - SHOWN_SKIPPED} more in the report")
    return table
