"""Plots of what was measured, from the JSON that `python -m benchmarks` writes.

`python -m benchmarks.plots [FILE ...]` draws whatever the files have results for into
`docs/plots/`. One message a plot: the title says it, with the figure that was measured.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.drawing import Bars, Lines, draw_bars, draw_lines

FILES = [Path("benchmarks/results.json")]
FOLDER = Path("docs/plots")
OURS = "celery-pump"

Results = Mapping[str, Mapping[str, Any]]
Plot = Callable[[Results, Path], bool]


def results_in(report: Any) -> Iterator[dict[str, Any]]:
    """Every result in a report, whether it is kept by scenario or in one list."""
    if isinstance(report, dict):
        for key, value in report.items():
            if key == "results" and isinstance(value, list):
                yield from value
            else:
                yield from results_in(value)


def draw_all(results: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw every plot that there are results for; the files written.

    Args:
        results: each as its JSON; of those with one title the last counts.
    """
    by_title = {str(result["title"]): result for result in results}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [(folder / f"{name}.png", plot) for name, plot in PLOTS.items()]
    return [path for path, plot in paths if plot(by_title, path)]


def _table(results: Results, beginning: str, column: str) -> dict[str, list[float]]:
    """One column of the table whose title so begins: figures by contestant, as ordered there."""
    for title, result in results.items():
        if title.startswith(beginning) and "contestants" in result:
            return {
                name: row["figures"][column]
                for name, row in result["contestants"].items()
                if column in row["figures"]
            }
    return {}


def _ratio(ours: Sequence[float], others: Mapping[str, Sequence[float]], name: str) -> str:
    return f"{median(ours) / median(others[name]):.3g} times" if name in others else "beside"


def _round_trips(results: Results, path: Path) -> bool:
    figures = _table(results, "round trips", "round trips/s")
    if OURS not in figures:
        return False
    figures = dict(sorted(figures.items(), key=lambda row: -median(row[1])))
    ratio = _ratio(figures[OURS], figures, "celery")
    title = f"{ratio} the round trips of Celery alone"
    what = "no-op round trips a second, 200 bytes, two worker processes"
    return draw_bars(path, Bars(title, what, figures, [OURS]))


def _processor(results: Results, path: Path) -> bool:
    figures = _table(results, "round trips", "CPU µs each")
    if OURS not in figures:
        return False
    cheapest = dict(sorted(figures.items(), key=lambda row: median(row[1])))
    what = "µs of CPU a round trip: producer, workers and Redis together"
    title = f"A round trip costs {median(figures[OURS]):,.0f} µs of CPU"
    return draw_bars(path, Bars(title, what, cheapest, [OURS]))


def _latency(results: Results, path: Path) -> bool:
    p50 = _table(results, "idle latency", "p50 ms")
    p99 = _table(results, "idle latency", "p99 ms")
    if OURS not in p50:
        return False
    quickest = dict(sorted(p50.items(), key=lambda row: median(row[1])))
    title = f"Idle, half of all round trips take less than {median(p50[OURS]):.2g} ms"
    what = "milliseconds, one no-op round trip after the other: p50 (p99)"
    return draw_bars(path, Bars(title, what, quickest, [OURS], beyond=p99))


def _work(results: Results, path: Path) -> bool:
    points: dict[str, dict[int, list[float]]] = {}
    for title in results:
        words = title.partition(" that burn ")[2].split()
        if title.startswith("work,") and words:
            for name, figures in _table(results, title, "efficiency").items():
                points.setdefault(name, {})[int(words[0])] = figures
    if OURS not in points:
        return False
    title = "The shorter the work, the more of two processors goes into the rest"
    sizes, what = "milliseconds of work a message", "work ÷ (time x 2), two worker processes"
    lines = Lines(title, sizes, what, points, [OURS], tells_growth=False, is_reversed=True)
    return draw_lines(path, lines)


def _mixed(results: Results, path: Path) -> bool:
    figures = _table(results, "mixed", "p99 ms of 1 ms")
    batched = [name for name in figures if name.startswith("batched")]
    if not batched:
        return False
    title = "Small messages beside large ones, batched and not"
    what = "p99 of the 1 ms messages, in milliseconds; one in twenty takes 200 ms"
    return draw_bars(path, Bars(title, what, figures, batched))


def _pump(results: Results, path: Path) -> bool:
    beside = results.get("two hops over redis, against plain redis-py")
    if beside is None:
        return False
    figures = {"1 pump": beside["1 pump"]}
    for name in ("2 pumps", "4 pumps"):
        against = results.get(f"two hops over redis, {name} against one")
        if against is not None:
            figures[name] = against[name]
    ours = list(figures)
    figures["plain redis-py"] = beside["plain redis-py"]
    title = f"One pump makes {beside['ratio']:.2f} of the hops that Redis and redis-py could"
    what = "hops a second over Redis, handlers inline, two cores"
    return draw_bars(path, Bars(title, what, figures, ours))


def _pump_in_memory(results: Results, path: Path) -> bool:
    beside = results.get("two hops in memory, against xml-pipeline")
    if beside is None:
        return False
    figures = {name: beside[name] for name in (OURS, "xml-pipeline")}
    title = f"In memory, {beside['ratio']:.0f} times the hops of xml-pipeline"
    return draw_bars(path, Bars(title, "hops a second, two hops a message", figures, [OURS]))


def _backends(results: Results, path: Path) -> bool:
    grid = results.get("backends, each operation")
    if grid is None:
        return False
    bare, ours = "one bare command", "redis"
    figures = {
        operation.replace("_", " "): [
            figure / other for figure, other in zip(row[ours], row[bare], strict=True)
        ]
        for operation, row in grid["rows"].items()
        if bare in row
    }
    ordered = dict(sorted(figures.items(), key=lambda row: -median(row[1])))
    title = "RedisBackend beside the one bare command of each operation"
    what = "calls a second, as a share of plain redis-py's one bare command"
    return draw_bars(path, Bars(title, what, ordered, list(ordered), mark=1.0))


def _growth(against: str, message: str) -> Plot:
    def plot(results: Results, path: Path) -> bool:
        points: dict[str, dict[int, list[float]]] = {}
        for title, result in results.items():
            if result.get("against") == against and title.endswith(", cpu"):
                name = title.removesuffix(", cpu").partition(", by ")[0]
                points[name] = {int(size): row for size, row in result["points"].items()}
        if not points:
            return False
        redis = [name for name in points if name.startswith("redis")]
        largest = max(size for row in points.values() for size in row)
        title = message.format(largest=f"{largest:,}")
        unit = "µs of CPU a message, pump and Redis together"
        return draw_lines(path, Lines(title, against, unit, points, redis))

    return plot


def _slots(results: Results, path: Path) -> bool:
    points = {
        title.partition(", by ")[0]: {int(size): row for size, row in result["points"].items()}
        for title, result in results.items()
        if result.get("against") == "slots of a thread" and title.startswith("redis")
    }
    if not points:
        return False
    title = "What a slot costs as its thread grows"
    lines = Lines(
        title,
        "slots of a thread",
        "µs of CPU a call over Redis, caller and Redis together",
        points,
        list(points),
    )
    return draw_lines(path, lines)


def _resident(results: Results, path: Path) -> bool:
    figures = {
        title.removesuffix(" (rss)"): result["median"]
        for title, result in results.items()
        if title.endswith("(rss)")
    }
    if not figures:
        return False
    rows = {name: [figure] for name, figure in sorted(figures.items())}
    loaded = [name for name in rows if name.endswith("under load")]
    title = "A pump and its worker, idle and with 10,000 requests on their way"
    return draw_bars(path, Bars(title, "MiB resident", rows, loaded))


def _stored(results: Results, path: Path) -> bool:
    prefix, whole = "redis, of that ", "redis, a waiting message of 200 bytes"
    if whole not in results:
        return False
    total = results[whole]["median"]
    parts = {
        title.removeprefix(prefix): result["median"]
        for title, result in results.items()
        if title.startswith(prefix) and result["median"] > 1
    }
    rows = {name: [part] for name, part in sorted(parts.items(), key=lambda row: -row[1])}
    rows["its keys' place in Redis's table"] = [total - sum(parts.values())]
    title = f"A waiting message of 200 bytes takes {total:,.0f} bytes of Redis"
    return draw_bars(path, Bars(title, "bytes", rows, list(rows)))


PLOTS: Mapping[str, Plot] = {
    "round-trips": _round_trips,
    "cpu-of-a-round-trip": _processor,
    "latency": _latency,
    "efficiency": _work,
    "mixed": _mixed,
    "pump-in-memory": _pump_in_memory,
    "pump-over-redis": _pump,
    "backends": _backends,
    "growth-waiting": _growth(
        "messages waiting", "What a message costs while up to {largest} others wait"
    ),
    "growth-open": _growth(
        "conversations open", "What a message costs beside up to {largest} open conversations"
    ),
    "growth-kept": _growth(
        "conversations kept", "What a message costs beside up to {largest} kept conversations"
    ),
    "growth-long": _growth(
        "slots of one conversation", "One more message in a conversation of up to {largest} slots"
    ),
    "growth-slots": _slots,
    "memory-of-processes": _resident,
    "memory-of-a-message": _stored,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=FILES)
    parser.add_argument("--into", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    for file in arguments.files:
        results += results_in(json.loads(file.read_text()))
    for path in draw_all(results, arguments.into):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
