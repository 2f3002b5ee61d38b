"""What comes from elsewhere: the environment, secrets, modules."""

import sys
from pathlib import Path

import pytest

from pipeline.organism_file import load_organism
from tests.unit.pipeline.organism_file.writing import (
    HANDLERS,
    LISTENERS,
    NUMBERS,
    Write,
    problems,
    with_settings,
)


def test_variables_come_from_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Substituted, then read as the type that is expected there."""
    monkeypatch.setenv("WORKERS", "3")
    monkeypatch.setenv("QUEUE", "007")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    organism = with_settings(
        write,
        """
process_pool: {workers: "${WORKERS}", max_tasks_per_child: "${UNSET:-5}"}
celery:
  queue: ${QUEUE}
  lease_s: ${EMPTY:-2}
  broker_url: "amqp://${UNSET:-h}/$${x}"
backend: {manager_address: "${EMPTY}", redis_prefix: "${EMPTY}"}
""",
    )
    assert organism.process_pool.workers == 3
    assert organism.process_pool.max_tasks_per_child == 5
    assert (organism.celery.queue, organism.celery.lease_s) == ("007", 2.0)
    assert organism.celery.broker_url == "amqp://h/${x}"
    assert (organism.backend.manager_address, organism.backend.redis_prefix) == (None, "")


def test_an_unset_variable_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a substitution that is malformed."""
    monkeypatch.delenv("UNSET", raising=False)
    write('organism: {name: "${UNSET}"}\ncelery: {queue: "${a b}"}\n' + LISTENERS)
    assert problems(Path("organism.yaml")) == [
        (
            "organism.yaml:1: organism.name: environment variable UNSET is not set;"
            " ${UNSET:-…} gives a default"
        ),
        (
            'organism.yaml:2: celery.queue: "${" must begin ${NAME} or ${NAME:-default};'
            " write $${ for itself"
        ),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        "backend: {redis_url: [redis://:hush@h]}",
        "backend: {redis_url: {hush: hush}}",
        "backend: {manager_authkey: 4711}",
        "celery: {broker_url: [hush]}",
        "serialization: {signing_key: {a: hush}}",
        "serialization: {signing_key: [4711]}",
        'celery: {broker_url: "redis://:hush@${"}',
    ],
)
def test_secrets_are_never_told(write: Write, settings: str) -> None:
    """A wrong value of a secret setting is not repeated."""
    write(f"organism: {{name: o}}\n{settings}\n{LISTENERS}")
    (problem,) = problems(Path("organism.yaml"))
    assert "hush" not in problem
    assert "4711" not in problem


@pytest.mark.parametrize(
    ("key", "expected"), [('""', ()), ("a", ("a",)), ("[a, b]", ("a", "b")), ('"${K:-}"', ())]
)
def test_a_signing_key_is_one_or_a_list(write: Write, key: str, expected: tuple[str, ...]) -> None:
    """An empty one is none."""
    organism = with_settings(write, f"serialization: {{signing_key: {key}}}")
    assert organism.serialization.signing_key == expected


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError: "),
    ],
)
def test_a_module_that_raises(file: Path, tmp_path: Path, code: str, why: str) -> None:
    """The reason is told on one line, for each setting that needs the module."""
    name = f"organism_raises_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(f"\n{code}\n")
    file.write_text(
        "organism: {name: o}\nlisteners:\n"
        f"  - {{name: a, payload_class: {name}.P, handler: {name}.f}}\n"
    )
    first, second = problems(file)
    assert first.startswith(
        f'organism.yaml:3: listeners[0].handler: module "{name}" raised while importing: {why}'
    )
    assert f"{name}.py" in first
    assert "listeners[0].payload_class" in second


def test_the_files_own_folder_is_searched_first(write: Write, tmp_path: Path) -> None:
    """And stays there, once, for handlers that import later."""
    sys.path.append(str(tmp_path))
    load_organism(write("organism: {name: o}" + LISTENERS))
    load_organism(Path("organism.yaml"))
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_module_loaded_from_elsewhere_does_not_win(
    write: Write, module: str, tmp_path: Path
) -> None:
    """Two modules of one name in a process: the second can't be had, and that is said."""
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{module}.py").write_text(HANDLERS)
    load_organism(write("organism: {name: o}" + LISTENERS))
    file = other / "organism.yaml"
    file.write_text(Path("organism.yaml").read_text())
    found = problems(file)
    assert len(found) == 2
    assert f'module "{module}" is already loaded from {tmp_path / module}.py' in found[0]
