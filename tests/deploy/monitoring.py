"""What `deploy/` asks Prometheus: alerts, panels, and what a fleet is scaled on."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.deploy.files import DEPLOY, KUBERNETES, ROOT

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "celery-pump.json"
RUNBOOK = ROOT / "docs" / "runbook"
SCALED_OBJECT = KUBERNETES / "keda" / "scaledobject.yaml"
_NAME = re.compile(r"\b(?:celery_pump|process)_\w+")
_SELECTOR = re.compile(_NAME.pattern + r"(?:\{[^}]*\})?")


@dataclass(frozen=True)
class Alert:
    """One rule."""

    name: str
    expression: str
    #: A page of ours, from the repository's root.
    runbook: str


def alerts() -> list[Alert]:
    """Every rule of ours."""
    loaded = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    return [
        Alert(rule["alert"], rule["expr"], rule["annotations"]["runbook"])
        for group in loaded["groups"]
        for rule in group["rules"]
    ]


def panels() -> list[tuple[str, str]]:
    """Title and expression of every target of the dashboard."""
    return [
        (panel["title"], target["expr"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def scaling_query() -> str:
    """What KEDA asks."""
    (trigger,) = yaml.safe_load(SCALED_OBJECT.read_text())["spec"]["triggers"]
    return str(trigger["metadata"]["query"])


def expressions() -> Iterator[str]:
    """All that is asked of Prometheus."""
    for alert in alerts():
        yield alert.expression
    for _, expression in panels():
        yield expression
    for variable in dashboard()["templating"]["list"]:
        yield variable.get("definition", "")
    yield scaling_query()


def selectors(expression: str) -> set[str]:
    """Every metric of an expression with the labels it must have, and nothing done to it."""
    return set(_SELECTOR.findall(expression))


def asked_names() -> set[str]:
    """Every metric that is asked for, as a scrape has it."""
    return {name for expression in expressions() for name in _NAME.findall(expression)}


def documented_names() -> set[str]:
    """Every metric of ours that docs/monitoring.md tells of; histograms by their own name."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    tables = re.split(r"\*\*Of ", text)[1:]
    found = set()
    for table in tables:
        is_fleet = table.startswith("the whole fleet")
        prefix = "celery_pump_fleet_" if is_fleet else "celery_pump_"
        if table.startswith("either"):
            rows = [table.split("prometheus-client's")[0]]
        else:
            rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")][1:]
        for row in rows:
            found |= {prefix + name for name in re.findall(r"`([a-z]\w+)(?:\{[\w,]+\})?`", row)}
    return found
