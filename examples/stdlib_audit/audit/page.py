"""The report as one page that needs nothing but a browser."""

from collections.abc import Iterable, Sequence
from html import escape

from audit.payloads import CloneGroup, Place, Report
from audit.reporting import figures

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #e0e1e6;
  --paper: #fcfcfd; --card: #fff; --bar: #3e63dd; }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba;
  --line: #363a3f; --paper: #111113; --card: #18191b; --bar: #849dff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; margin: 0; letter-spacing: -.02em; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
.root { color: var(--soft); margin: .25rem 0 2rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: .75rem;
  margin: 0 0 1.5rem; }
dl div, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
dl div { padding: .75rem 1rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1.25rem; }
section { padding: 1.25rem; margin: 0 0 1.25rem; overflow-x: auto; }
.two section { margin: 0; }
.two + section { margin-top: 1.25rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; color: var(--soft); font-weight: 500; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  overflow-wrap: normal; width: 1%; }
code { font: .85em/1.5 ui-monospace, monospace; }
.chart th { border: 0; white-space: nowrap; }
.chart td { border: 0; padding-block: .15rem; vertical-align: middle; white-space: nowrap; }
.chart td:last-child { width: 99%; padding-right: 0; }
.bar { display: block; height: .8rem; min-width: 2px; border-radius: 2px; background: var(--bar); }
details { margin-top: .25rem; color: var(--soft); }
"""


def page(report: Report, seconds: float) -> str:
    """The whole document. Every name in it comes from the audited code and is escaped."""
    body = "".join(
        [
            "<h1>Code audit</h1>",
            f'<p class="root"><code>{escape(report.root)}</code>, in {seconds:.1f} s</p>',
            _totals(report),
            '<div class="two">',
            _chart("Functions by complexity", "Complexity", report.complexity_histogram),
            _chart("Most imported modules", "Module", report.most_imported),
            "</div>",
            _places("Most complex functions", "Complexity", report.most_complex, "complexity"),
            _places("Longest functions", "Lines", report.longest, "lines"),
            _clones(report.clone_groups, report.clones_found),
            _section(
                f"Skipped files: {len(report.skipped)}",
                ("File", "Why"),
                ((_code(each.path), escape(each.reason)) for each in report.skipped),
            ),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Code audit</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _totals(report: Report) -> str:
    return (
        "<dl>"
        + "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in figures(report))
        + "</dl>"
    )


def _chart(title: str, head: str, rows: Sequence[tuple[str, int]]) -> str:
    """Bars beside their figures: a table to whoever can't see them."""
    most = max((count for _, count in rows), default=0) or 1
    cells = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{count:,}</td>'
        f'<td aria-hidden="true"><span class="bar" style="width:{100 * count / most:.2f}%">'
        "</span></td></tr>"
        for name, count in rows
    )
    heads = (
        f'<tr><th scope="col">{head}</th><th scope="col" class="n">Count</th>'
        '<td aria-hidden="true"></td></tr>'
    )
    return (
        f'<section><h2>{title}</h2><table class="chart" aria-label="{title}"><thead>{heads}</thead>'
        f"<tbody>{cells}</tbody></table></section>"
    )


def _places(title: str, head: str, places: Sequence[Place], figure: str) -> str:
    rows = (
        (f"{getattr(each, figure):,}", _code(each.name), _code(f"{each.path}:{each.line}"))
        for each in places
    )
    return _section(title, (head, "Function", "Where"), rows, numbers=1)


def _clones(groups: Sequence[CloneGroup], found: int) -> str:
    heads = ("Repeated", "Lines", "Places", "Where")
    rows = (
        (f"{group.repeated:,}", f"{group.lines:,}", f"{group.count:,}", _members(group))
        for group in groups
    )
    return _section(f"Largest clone groups, of {found:,}", heads, rows, 3)


def _members(group: CloneGroup) -> str:
    first, *others = [_code(f"{each.path}:{each.line} {each.name}") for each in group.places]
    more = group.count - 1
    listing = "<br>".join(others) + ("<br>…" if len(others) < more else "")
    return f"{first}<details><summary>and {more:,} more</summary>{listing}</details>"


def _section(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0
) -> str:
    """A table; its first *numbers* columns are figures. Cells are HTML already."""
    kinds = [' class="n"' if column < numbers else "" for column in range(len(heads))]
    head = "".join(
        f'<th scope="col"{kind}>{text}</th>' for kind, text in zip(kinds, heads, strict=True)
    )
    body = "".join(f"<tr>{_cells(kinds, row)}</tr>" for row in rows)
    return (
        f'<section><h2>{title}</h2><table aria-label="{title}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></section>"
    )


def _cells(kinds: Sequence[str], row: Sequence[str]) -> str:
    return "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
