"""What `deploy/` holds, as tests read it: each file once, by its own rules."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = DEPLOY / "image" / "Dockerfile"
#: Compose's own: $$, or a variable with what stands in for it.
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::(-|\?)([^}]*))?\})")
#: Enough to start with; none is a secret.
FILLED = {
    "REDIS_PUMP_PASSWORD": "pumpr3d1s",
    "REDIS_WORKER_PASSWORD": "w0rkerr3d1s",
    "REDIS_MONITOR_PASSWORD": "m0nitorr3d1s",
    "REDIS_ADMIN_PASSWORD": "adm1nr3d1s",
    "GRAFANA_PASSWORD": "graf4na",
    "FLOWER_BASIC_AUTH": "boss:fl0w3r",
    "PUMP_CONSOLE_TOKEN": "c0nsole-t0ken-of-length",
}


def need(tool: str, *, is_in_ci: bool = False) -> str:
    """Where a program is; without it the test is skipped, or fails as `miss` says."""
    return shutil.which(tool) or miss(tool, is_in_ci=is_in_ci)


def miss(what: str, *, is_in_ci: bool = False) -> NoReturn:
    """Skip because *what* is not here; fail in `make deploy-check`, and where CI has brought it."""
    if os.environ.get("DEPLOY_CHECK") or (is_in_ci and os.environ.get("CI") == "true"):
        pytest.fail(f"{what} is not here")
    pytest.skip(f"{what} is not here; make deploy-check brings it")


def variables(path: Path) -> dict[str, str]:
    """The assignments of an environment file."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: text for name, _, text in pairs}


def compose_variables() -> set[str]:
    """Every variable the compose file asks for."""
    return {match[2] for match in _VARIABLE.finditer(COMPOSE.read_text()) if match[2]}


def composed(environment: Mapping[str, str] = FILLED) -> dict[str, Any]:
    """The compose file with its variables filled in.

    Raises:
        KeyError: one that it insists on is missing.
    """

    def fill(match: re.Match[str]) -> str:
        escaped, name, operator, default = match.groups()
        if escaped:
            return "$"
        value = environment.get(name, "")
        if not value and operator != "-":
            raise KeyError(name)
        return value or default

    loaded: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(fill, COMPOSE.read_text()))
    return loaded


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every resource, behind the name of its file."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for each in yaml.safe_load_all(path.read_text()):
                yield path.name, each


def pod(role: str) -> dict[str, Any]:
    """The pod of a Deployment."""
    (spec,) = (
        each["spec"]["template"]["spec"]
        for name, each in manifests()
        if name == f"{role}.yaml" and each["kind"] == "Deployment"
    )
    assert isinstance(spec, dict)
    return spec


def unit(path: Path) -> dict[str, str]:
    """A unit's settings; none of ours is given twice but for the files of its environment."""
    pairs = re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE)
    once = [name for name, _ in pairs if name != "EnvironmentFile"]
    assert len({*once}) == len(once)
    return dict(pairs)


def unit_environment(path: Path) -> dict[str, str]:
    """What a unit's environment files set, filled in as our examples are; later ones win."""
    found: dict[str, str] = {}
    for name in re.findall(r"^EnvironmentFile=-?(\S+)$", path.read_text(), re.MULTILINE):
        found |= variables(DEPLOY / "systemd" / f"{Path(name).name}.example")
    return found


def pump_commands() -> Iterator[tuple[str, list[str]]]:
    """The words behind `pump` wherever a file of ours starts it, with the place."""
    for name, service in composed()["services"].items():
        if name in ("pump", "worker"):
            yield f"compose {name}", service["command"]
    for role in ("pump", "worker"):
        yield f"kubernetes {role}", pod(role)["containers"][0]["args"]
    for path in UNITS:
        yield path.name, shlex.split(unit(path)["ExecStart"])[1:]
