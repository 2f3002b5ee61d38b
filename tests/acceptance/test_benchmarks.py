"""Each scenario of `make bench` in its short form: ours alone, a few messages, no peer's venv.

What a figure is worth only a quiet machine can say; here it must be there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import require_redis

ROOT = Path(__file__).parent.parent.parent
SECONDS = 110
#: What each scenario's tables count and measure: answers a round, and its figures.
EXPECTED: dict[str, list[tuple[int, set[str]]]] = {
    "round-trip": [(500, {"round trips/s", "CPU µs each", "others, %"})],
    "latency": [(50, {"p50 ms", "p99 ms"})],
    "work": [
        (answers, {"efficiency", "of what others left", "others, %", "CPU µs each"})
        for answers in (100, 10)
    ],
    "mixed": [(60, {"p50 ms of 1 ms", "p99 ms of 1 ms", "p50 ms of 200 ms", "others, %"})],
}


@pytest.mark.parametrize("scenario", EXPECTED)
def test_a_scenario_measures(scenario: str, tmp_path: Path) -> None:
    """All answers come, every figure is there, and on what it was measured."""
    require_redis()
    kept = bench(tmp_path, scenario)[scenario]
    assert kept["machine"]["processor"]
    assert len(kept["machine"]["load"].split()) == 3
    tables = kept["results"]
    assert len(tables) == len(EXPECTED[scenario])
    for table, (answers, figures) in zip(tables, EXPECTED[scenario], strict=True):
        assert table["contestants"]
        for contestant in table["contestants"].values():
            (counts,) = contestant["counts"]
            assert counts["answers"] == answers
            assert counts["processes"] >= 1
            assert contestant["versions"]["celery"]
            assert set(contestant["figures"]) == figures
            for (median,) in contestant["figures"].values():
                assert median >= 0


def bench(folder: Path, scenario: str) -> Any:
    """One round; what it wrote."""
    path = folder / "results.json"
    command = [sys.executable, "-m", "benchmarks", scenario, "--short", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--json", str(path)],
        cwd=ROOT,
        # A folder that is left behind stands in ours, and is seen.
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stderr, done.stderr
    assert not list(folder.glob("pump-bench-*"))
    return json.loads(path.read_text())
