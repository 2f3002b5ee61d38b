"""The files of `deploy/` agree with one another, with the command, and with the organism."""

import math
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cli.main import main
from pipeline.organism_file import load_organism
from tests.deploy.files import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    FILLED,
    KUBERNETES,
    ROOT,
    UNITS,
    compose_variables,
    composed,
    manifests,
    need,
    pod,
    pump_commands,
    unit,
    unit_environment,
    variables,
)
from tests.deploy.monitoring import PROMETHEUS, scaling_query

ORGANISM = ROOT / "examples" / "stdlib_audit" / "organism.yaml"
#: Seconds a worker may take to end besides its handlers: asked again after 4 s, twice, and more
#: firmly; then it gives back what it holds.
MARGIN_S = 15


def test_grace_periods_follow_from_the_organism() -> None:
    """What runs may finish before anybody kills it."""
    organism = load_organism(ORGANISM)
    longest_s = max(each.timeout_s or 0 for each in organism.listeners)
    assert organism.celery.grace_s >= longest_s
    grace_s = math.ceil(max(longest_s, organism.celery.grace_s)) + MARGIN_S
    for role in ("pump", "worker"):
        assert pod(role)["terminationGracePeriodSeconds"] == grace_s
        assert composed()["services"][role]["stop_grace_period"] == f"{grace_s}s"
    for path in UNITS:
        assert unit(path)["TimeoutStopSec"] == str(grace_s)


@pytest.mark.parametrize(("where", "words"), list(pump_commands()))
def test_the_command_has_what_is_asked_of_it(where: str, words: list[str]) -> None:
    """Every subcommand and option exists."""
    name, *options = words
    assert main([name, *options, "--help"]) == 0, where
    assert main([name, *options, "--no-such-option", "--help"]) == 2


def test_one_heartbeat_file_everywhere() -> None:
    """Where the probe looks by itself, on a place that can be written."""
    probe = (DEPLOY / "image" / "alive").read_text()
    (path,) = re.findall(r"\$\{1:-(\S+)\}", probe)
    for where, words in pump_commands():
        if "kubernetes" in where or "compose" in where:
            assert words[1:3] == ["--heartbeat-file", path], where
    assert f'"--heartbeat-file", "{path}"' in DOCKERFILE.read_text()
    for role in ("pump", "worker"):
        assert composed()["services"][role]["tmpfs"][0].startswith(f"{Path(path).parent}:")
        mounts = {each["mountPath"] for each in pod(role)["containers"][0]["volumeMounts"]}
        assert str(Path(path).parent) in mounts


def test_one_port_for_metrics() -> None:
    """Where processes show them Prometheus looks, and may; on a machine of its own each has one."""
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == {"pump", "worker"}
    for where, words in pump_commands():
        port = words[words.index("--metrics-port") + 1]
        if "service" in where:
            assert port == {"run": "9460", "worker": "946%i"}[words[0]]
        else:
            assert int(port) == found["port"], where
    for role in ("pump", "worker"):
        (container,) = pod(role)["containers"]
        assert container["ports"] == [{"name": "metrics", "containerPort": found["port"]}]
    (policy,) = (each for _, each in manifests() if each["kind"] == "NetworkPolicy")
    assert [each["ports"][0]["port"] for each in policy["spec"]["ingress"]] == ["metrics"]
    annotations = [
        each["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]
        for _, each in manifests()
        if each["kind"] == "Deployment"
    ]
    assert annotations == [str(found["port"])] * 2
    (job_name,) = {*re.findall(r'job="([^"]+)"', (PROMETHEUS / "alerts.yml").read_text())}
    assert job["job_name"] == job_name


def test_fleets_are_scaled_on_what_waits_and_runs() -> None:
    """By the organism's own name, as docs/monitoring.md says it."""
    name = load_organism(ORGANISM).name
    assert f'organism="{name}"' in scaling_query()
    assert scaling_query().replace(name, "NAME") in (ROOT / "docs" / "monitoring.md").read_text()


def test_each_role_is_a_user_of_its_own() -> None:
    """In Redis, by `deploy/redis/users.acl`; and the prefix there is the organism's."""
    users = {"pump": "pump", "worker": "worker", "flower": "monitor", "console": "pump"}
    for service, user in users.items():
        password = FILLED[f"REDIS_{user.upper()}_PASSWORD"]
        found = composed()["services"][service]["environment"]["REDIS_URL"]
        assert found == f"redis://{user}:{password}@redis:6379/0"
    for path in UNITS:
        role = "worker" if "worker" in path.name else "pump"
        assert unit_environment(path)["REDIS_URL"].startswith(f"redis://{role}:"), path
    prefix = load_organism(ORGANISM).backend.redis_prefix
    assert variables(DEPLOY / ".env.example")["REDIS_PREFIX"] == prefix


def test_one_user_everywhere() -> None:
    """By number, and never root."""
    (uid,) = set(re.findall(r"(?:--uid |USER )(\d+)", DOCKERFILE.read_text()))
    for role in ("pump", "worker"):
        assert f"uid={uid}," in composed()["services"][role]["tmpfs"][0]
        assert pod(role)["securityContext"]["runAsUser"] == int(uid)


def test_nothing_runs_with_more_than_it_needs() -> None:
    """Read-only roots, no capabilities, no way to more of them."""
    for name, service in composed()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    for role in ("pump", "worker"):
        (container,) = pod(role)["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_selectors_find_their_pods() -> None:
    """A budget or policy that selects nothing says nothing."""
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for _, each in manifests()
        if each["kind"] == "Deployment"
    ]
    assert len(labels) == 2
    for _, each in manifests():
        if each["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = each["spec"].get("selector") or each["spec"]["podSelector"]
            wanted = selector["matchLabels"].items()
            found = [pod for pod in labels if wanted <= pod.items()]
            assert len(found) == (1 if each["kind"] == "PodDisruptionBudget" else 2)


def test_no_variable_is_missing_or_left_over() -> None:
    """And none of the secrets has a value that somebody would leave as it is."""
    sample = variables(DEPLOY / ".env.example")
    assert set(sample) == compose_variables()
    assert {name for name, text in sample.items() if not text} == {*FILLED, "PUMP_SIGNING_KEY"}
    for name in FILLED:
        with pytest.raises(KeyError, match=name):
            composed({**FILLED, name: ""})
    asked = set(re.findall(r"\$\{(\w+)", ORGANISM.read_text()))
    given = variables(DEPLOY / "systemd" / "environment.example")
    assert asked <= set(given)
    for role in ("pump", "worker"):
        secret = variables(KUBERNETES / f"secret-{role}.env.example")
        assert asked <= set(secret) | {"BACKEND", "WORKERS"}
        assert f"//{role}:" in secret["REDIS_URL"]
    assert asked <= set(composed()["services"]["worker"]["environment"])


def test_images_are_pinned() -> None:
    """By a version; a digest is for whoever pulls it to know."""
    images = re.findall(r"image: (\S+)", COMPOSE.read_text())
    images += re.findall(r"ARG BASE=(\S+)", DOCKERFILE.read_text())
    for image in images:
        assert re.search(r":(local|v?[0-9][\w.-]*\d[\w.-]*)$", image), image


def test_units_are_what_systemd_takes(tmp_path: Path) -> None:
    """Its own check, on the command being there; and little is left exposed."""
    analyze = need("systemd-analyze")
    paths = [tmp_path / each.name.replace("@.", "@1.") for each in UNITS]
    for path, source in zip(paths, UNITS, strict=True):
        text = source.read_text().replace("/opt/celery-pump/bin/pump", "/bin/true")
        path.write_text(text)
    checked = _run(analyze, "verify", "--man=no", *map(str, paths))
    assert (checked.returncode, checked.stderr) == (0, "")
    for path in paths:
        done = _run(analyze, "security", "--offline=true", "--threshold=20", str(path))
        assert done.returncode == 0, done.stdout
    paths[0].write_text(paths[0].read_text().replace("KillMode=mixed", "KillMode=mixd"))
    assert "mixd" in _run(analyze, "verify", "--man=no", str(paths[0])).stderr


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
