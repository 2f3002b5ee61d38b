"""Two kinds of plot, drawn plainly: bars beside each other, and costs against sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

#: Ours, others', and what is said about them.
OURS, OTHERS, INK, FAINT = "#1f5fa8", "#9aa3ad", "#222222", "#dddddd"
_TONES = ("#1f5fa8", "#d1662a", "#3b8f5a", "#8a4f9e", "#777777", "#b09a2c", "#4aa3b8", "#aa4455")
_DPI = 150
_WIDTH_IN = 8.0
#: How high a plot of lines is inside its axes.
_LINES_IN, _PLOT_POINTS = 4.4, 4.4 * 0.77 * 72
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Bars:
    """One bar a row, the first on top: the median; a thin line from lowest to highest."""

    title: str
    what: str
    rows: Mapping[str, Sequence[float]]
    #: Rows drawn in our colour.
    ours: Sequence[str]
    #: What each row goes on to, drawn pale: such as p99 behind p50.
    beyond: Mapping[str, Sequence[float]] = field(default_factory=dict)
    #: A value worth a line of its own.
    mark: float | None = None


@dataclass(frozen=True)
class Lines:
    """One line a name, through the medians; sizes are logarithmic, the rest begins at zero."""

    title: str
    sizes: str
    what: str
    #: By name and size, the figures of all rounds.
    points: Mapping[str, Mapping[int, Sequence[float]]]
    #: Names drawn in colour and thick; the others are pale.
    ours: Sequence[str]
    #: Whether a name tells how its line grows.
    tells_growth: bool = True
    #: Largest size first, so that names stand at the smallest.
    is_reversed: bool = False


def draw_bars(path: Path, bars: Bars) -> bool:
    """Write the plot; True."""
    figure, axes = _axes(1.3 + 0.42 * len(bars.rows))
    names = list(bars.rows)
    for at, (name, figures) in enumerate(bars.rows.items()):
        middle = median(figures)
        colour = OURS if name in bars.ours else OTHERS
        axes.barh(at, middle, height=0.62, color=colour)
        beyond = bars.beyond.get(name, ())
        text = _short(middle)
        if beyond:
            axes.barh(at, median(beyond), height=0.62, color=colour, alpha=0.35, zorder=0)
            text = f"{text}  ({_short(median(beyond))})"
        elif len(figures) > 1:
            axes.plot([min(figures), max(figures)], [at, at], color=INK, linewidth=1)
        axes.annotate(
            text,
            (median(beyond) if beyond else max(figures), at),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    if bars.mark is not None:
        axes.axvline(bars.mark, color=INK, linewidth=1, linestyle=":")
    axes.margins(x=0.12, y=0.02)
    return _write(figure, path, bars.title, bars.what)


def draw_lines(path: Path, lines: Lines) -> bool:
    """Write the plot; True."""
    figure, axes = _axes(_LINES_IN)
    tones = _tones(lines)
    for name, by_size in lines.points.items():
        sizes = sorted(by_size)
        is_ours = name in lines.ours
        axes.plot(
            sizes,
            [median(by_size[size]) for size in sizes],
            color=tones[name],
            linewidth=2.4 if is_ours else 1.4,
            marker="o",
            markersize=4,
            zorder=3 if is_ours else 2,
        )
        if is_ours:
            lowest, highest = ([which(by_size[size]) for size in sizes] for which in (min, max))
            axes.fill_between(sizes, lowest, highest, color=tones[name], alpha=0.15, linewidth=0)
    every_size = sorted({size for by_size in lines.points.values() for size in by_size})
    axes.set_xscale("log")
    axes.set_xticks(every_size, [f"{size:,}" for size in every_size])
    axes.minorticks_off()
    if lines.is_reversed:
        axes.invert_xaxis()
    axes.set_xlabel(lines.sizes)
    medians = [median(row) for by_size in lines.points.values() for row in by_size.values()]
    axes.set_ylim(0, max(medians) * 1.15)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    _name_ends(axes, lines, tones, max(medians) * 1.15)
    return _write(figure, path, lines.title, lines.what)


def _tones(lines: Lines) -> dict[str, str]:
    """A colour for each of ours, one for all others."""
    tones = dict(zip(lines.ours, _TONES, strict=False))
    return {name: tones.get(name, OTHERS) for name in lines.points}


def _name_ends(axes: Any, lines: Lines, tones: Mapping[str, str], top: float) -> None:
    """Write each line's name at its end, names apart from each other and below *top*."""
    ends = []
    for name, by_size in lines.points.items():
        first, last = (median(by_size[size]) for size in (min(by_size), max(by_size)))
        grown = f": {_short(last)} ({last / first:.2f} x)" if lines.tells_growth else ""
        end = (first, min(by_size)) if lines.is_reversed else (last, max(by_size))
        ends.append((*end, f"{name}{grown}", tones[name]))
    gap = top * 0.07
    heights: list[float] = []
    ceiling = top
    for cost, *_ in sorted(ends, reverse=True):
        heights.append(min(cost, ceiling))
        ceiling = heights[-1] - gap
    floor = 0.0
    for at in reversed(range(len(heights))):
        heights[at] = max(heights[at], floor)
        floor = heights[at] + gap
    for height, (cost, size, text, tone) in zip(heights, sorted(ends, reverse=True), strict=True):
        axes.annotate(
            text,
            (size, cost),
            xytext=(14, (height - cost) / top * _PLOT_POINTS),
            textcoords="offset points",
            va="center",
            color=tone if tone != OTHERS else "#6a737d",
            annotation_clip=False,
        )


def _axes(height_in: float) -> tuple[Any, Any]:
    # Drawn without a screen.
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(_WIDTH_IN, height_in))
        return figure, axes


def _write(figure: Any, path: Path, title: str, what: str) -> bool:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - an optional extra

    axes = figure.axes[0]
    for text, height, style in (
        (title, 30, {"fontweight": "bold", "fontsize": 13}),
        (what, 12, {"color": "#555555"}),
    ):
        axes.annotate(
            text,
            (0, 1),
            xytext=(0, height),
            xycoords="axes fraction",
            textcoords="offset points",
            **style,
        )
    figure.savefig(path, dpi=_DPI, bbox_inches="tight", facecolor="white", pad_inches=0.2)
    plt.close(figure)
    return True


def _short(figure: float) -> str:
    """Three digits that matter, with thousands apart."""
    if figure >= 1000:  # noqa: PLR2004 - where commas begin
        return f"{float(f'{figure:.3g}'):,.0f}"
    return f"{figure:.3g}"
