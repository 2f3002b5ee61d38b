"""Alert rules, their pages and the dashboard: valid, complete, and asking for what there is."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cli.main import main
from tests.deploy.files import ROOT, need
from tests.deploy.monitoring import DASHBOARD, PROMETHEUS, RUNBOOK, alerts, dashboard, panels


def promtool(*words: str, folder: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    command = [need("promtool", is_in_ci=True), *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_rules_and_configuration_are_valid() -> None:
    """By Prometheus's own tool."""
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """And not otherwise; a rule that never fires, or always, is found by the same tests."""
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = (PROMETHEUS / "alerts_test.yml").read_text()
    (tmp_path / "alerts_test.yml").write_text(tests)
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["expr"] = "vector(1) > 1"
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    done = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert done.returncode != 0
    missed = set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr))
    assert missed == {alert.name for alert in alerts()}


def test_every_alert_has_a_page() -> None:
    """Called after it, with what to look at and what to do; and no page is left over."""
    pages = {alert.runbook: alert.name for alert in alerts()}
    assert len(pages) == len(alerts())
    assert set(pages) == {str(path.relative_to(ROOT)) for path in RUNBOOK.glob("*.md")}
    for page, name in pages.items():
        text = (ROOT / page).read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Look", "Do"], page


def test_pages_tell_of_what_there_is() -> None:
    """Commands, pages, panels and settings that exist."""
    titles = {panel["title"] for panel in dashboard()["panels"]}
    commands = set()
    for path in RUNBOOK.glob("*.md"):
        text = path.read_text()
        for link in re.findall(r"\]\(([^)]+)\)", text):
            assert (path.parent / link).exists(), (path, link)
        for title in re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", " ".join(text.split())):
            assert title in titles | {"Targets"} or title.startswith("Dropped"), (path, title)
        commands |= {tuple(each.split()) for each in re.findall(r"`pump ([^`]+)`", text)}
    assert len(commands) >= 5
    for words in commands:
        known = [word for word in words if re.fullmatch(r"-*[a-z-]+", word)]
        assert main([*known, "--help"]) == 0, words


def test_the_dashboard_can_be_read() -> None:
    """Each panel in a place of its own, on the source and the organism that are chosen."""
    text = DASHBOARD.read_text()
    found = dashboard()
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in mine) < 24
        assert not mine & cells, panel["title"]
        cells |= mine
    assert all("$organism" in expression for _, expression in panels())
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"celery-pump", "${datasource}"}


@pytest.mark.parametrize("kind", ["datasources", "dashboards"])
def test_what_grafana_is_given(kind: str) -> None:
    """By its own names."""
    (path,) = (DASHBOARD.parents[1] / "provisioning" / kind).glob("*.yml")
    loaded = yaml.safe_load(path.read_text())
    assert set(loaded) == {"apiVersion", {"dashboards": "providers"}.get(kind, kind)}
