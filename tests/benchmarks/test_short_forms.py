"""Every benchmark of the pump alone runs, in a short form, and its figures make sense.

Never how fast: that depends on the machine and its neighbours.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks import backends, growth, memory, pump, slots
from benchmarks.plots import draw_all
from benchmarks.rows import Curve, Grid, Titled
from tests.servers import require_redis

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _server() -> None:
    require_redis()


def figures_of(result: Titled) -> Iterable[float]:
    """Every number that the result's JSON holds."""
    pending: list[object] = [json.loads(json.dumps(result.as_json()))]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            pending += found.values()
        elif isinstance(found, list):
            pending += found
        elif isinstance(found, int | float):
            yield found


def check(results: list[Titled]) -> dict[str, Titled]:
    """They are all there and positive, each has a title of its own and can be printed."""
    by_title = {result.title: result for result in results}
    assert len(by_title) == len(results) > 0
    for result in results:
        figures = list(figures_of(result))
        assert figures, result.title
        assert all(math.isfinite(figure) and figure >= 0 for figure in figures), result
        assert result.title in result.table_row()
    return by_title


def test_pumps_over_redis() -> None:
    """One, two and four pumps finish, and plain redis-py settles all it replays."""
    results = check(pump.compare(1, messages=200))
    assert "two hops over redis, against plain redis-py" in results


def test_backends() -> None:
    """Every operation of the three backends is measured, those of Redis beside bare commands."""
    results = check(backends.compare(1, calls=4))
    grid = results["backends, each operation"]
    assert isinstance(grid, Grid)
    assert set(grid.rows) == {*backends.OPERATIONS, *backends.CLEARING}
    assert all(set(backends.BACKENDS) <= set(row) for row in grid.rows.values())
    for operation in backends.AIMED_AT:
        (target,) = results[f"RedisBackend {operation}, against one bare command"].targets
        assert target.wanted.startswith("≥ 0.8")


@pytest.mark.parametrize("name", growth.GROWTHS)
def test_growth(name: str) -> None:
    """A curve for each step has a figure for each size."""
    results = check(growth.compare(1, scale=0.001, messages=20, growths=[name]))
    for curve in results.values():
        assert isinstance(curve, Curve)
        sizes = {max(1, int(size * 0.001)) for size in growth.GROWTHS[name].sizes}
        assert set(curve.points) == sizes


def test_slots() -> None:
    """Every backend has a curve for each operation."""
    results = check(slots.compare(1, sizes=[2, 20], calls=4))
    assert len(results) == len(slots.BACKENDS) * len(slots.OPERATIONS)


def test_memory() -> None:
    """A waiting message takes at least its own bytes; a pump and a worker are some MiB."""
    results = check(memory.compare(1, messages=200))
    waiting = results["redis, a waiting message of 200 bytes"].as_json()["median"]
    assert waiting > 200
    assert results["pump, under load (rss)"].as_json()["median"] > 10


def test_plots(tmp_path: Path) -> None:
    """Every plot whose results are there is drawn, and none whose are not."""
    pytest.importorskip("matplotlib")
    results = growth.compare(1, scale=0.001, messages=20, growths=["kept"])
    drawn = draw_all([result.as_json() for result in results], tmp_path)
    assert [path.name for path in drawn] == ["growth-kept.png"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")
