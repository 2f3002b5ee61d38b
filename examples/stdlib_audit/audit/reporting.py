"""From every module's report to one: totals and rankings."""

from collections import Counter
from collections.abc import Callable, Sequence

from audit.clones import clone_groups, listed
from audit.payloads import Findings, ModuleReport, Place, Report, Skipped

#: How many of each ranking are listed.
TOP = 10
#: Upper ends of the histogram's bars; the last bar is open.
_BARS = (1, 2, 3, 5, 10, 20, 50)


def build(findings: Findings) -> Report:
    """The report on *findings*; the same for the same findings."""
    read = [module for module in findings.modules if not module.skipped]
    places = [
        Place(module.path, each.name, each.line, each.lines, each.complexity)
        for module in read
        for each in module.functions
    ]
    imports = Counter(name for module in read for name in module.imports)
    groups = clone_groups(read)
    return Report(
        root=findings.root,
        modules=len(read),
        lines=sum(module.lines for module in read),
        functions=len(places),
        mean_complexity=_share(sum(place.complexity for place in places), len(places)),
        docstring_coverage=_coverage(read),
        most_complex=_top(places, lambda each: each.complexity),
        longest=_top(places, lambda each: each.lines),
        most_imported=sorted(imports.items(), key=lambda item: (-item[1], item[0]))[:TOP],
        complexity_histogram=_histogram([place.complexity for place in places]),
        clone_groups=listed(groups),
        clones_found=len(groups),
        skipped=[Skipped(each.path, each.skipped) for each in findings.modules if each.skipped],
    )


def figures(report: Report) -> list[tuple[str, str]]:
    """The totals as people read them, each with its name."""
    return [
        ("Modules", f"{report.modules:,}"),
        ("Lines", f"{report.lines:,}"),
        ("Functions", f"{report.functions:,}"),
        ("Mean complexity", f"{report.mean_complexity:.2f}"),
        ("Docstrings", f"{report.docstring_coverage:.1%}"),
        ("Clone groups", f"{report.clones_found:,}"),
        ("Skipped files", f"{len(report.skipped):,}"),
    ]


def _top(places: list[Place], figure: Callable[[Place], int]) -> list[Place]:
    return sorted(places, key=lambda each: (-figure(each), each.path, each.line))[:TOP]


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _coverage(modules: Sequence[ModuleReport]) -> float:
    documented = sum(module.documented for module in modules)
    return _share(documented, sum(module.documentable for module in modules))


def _histogram(values: Sequence[int]) -> list[tuple[str, int]]:
    """How many values fall into each bar, from the smallest."""
    bars: list[tuple[str, int]] = []
    low = 1
    for high in _BARS:
        label = str(high) if low == high else f"{low} to {high}"
        bars.append((label, sum(low <= value <= high for value in values)))
        low = high + 1
    return [*bars, (f"over {_BARS[-1]}", sum(value > _BARS[-1] for value in values))]
