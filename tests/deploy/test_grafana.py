"""The dashboard against Grafana's own types of the very version that the compose file starts."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.files import composed, need
from tests.deploy.monitoring import dashboard

TYPES = Path(__file__).with_name("dashboard.d.ts")
COMPILER = "typescript@5.4.5"
OPTIONS = ("--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "commonjs")


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a compiler and Grafana's types, which npm has (Apache 2.0)."""
    npm, folder = need("npm"), tmp_path_factory.mktemp("grafana")
    version = composed()["services"]["grafana"]["image"].rpartition(":")[2]
    packages = (f"@grafana/schema@{version}", COMPILER)
    done = _run(npm, "install", "--silent", "--prefix", str(folder), *packages, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(TYPES, folder)
    return folder


def test_the_dashboard_is_one_of_grafanas(types: Path) -> None:
    """Every key is known to it, every value may be there, and nothing that it needs is missing."""
    assert _complaints(types, dashboard()) == ""
    for place, name, value in (("legend", "placement", "below"), ("panel", "gridPosition", {})):
        wrong = copy.deepcopy(dashboard())
        drawn = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
        {"panel": drawn, "legend": drawn["options"]["legend"]}[place][name] = value
        assert str(value or name) in _complaints(types, wrong)


def _complaints(folder: Path, board: dict[str, Any]) -> str:
    """What the compiler says of it, written as constants of these types."""
    whole = {name: value for name, value in board.items() if name != "panels"}
    lines = [
        'import type { Kinds, Whole } from "./dashboard";',
        f"export const whole: Whole = {json.dumps(whole)};",
    ]
    for panel in board["panels"]:
        name, text = f"panel{panel['id']}", json.dumps(panel)
        lines.append(f'export const {name}: Kinds["{panel["type"]}"] = {text};')
    (folder / "check.ts").write_text("\n".join(lines))
    compiler = folder / "node_modules" / ".bin" / "tsc"
    done = _run(str(compiler), *OPTIONS, "check.ts", folder=folder)
    return done.stdout + done.stderr


def _run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=110, check=False
    )
