"""`organism.yaml`: what is read, and how each mistake is told."""

import os
import sys
import warnings
from pathlib import Path

import pytest

from pipeline.organism_file import ConfigWarning, OrganismFile, load_organism
from pipeline.settings import settings_of
from tests.unit.pipeline.organism_file.writing import (
    LISTENERS,
    Write,
    problems,
    with_settings,
)


def test_a_whole_file(write: Write, module: str) -> None:
    """Every section reaches its place, typed."""
    organism = load_organism(
        write("""
organism: {name: audit, version: "1", description: all of it}
backend: {type: redis, redis_url: "redis://h/1", redis_prefix: "a:", redis_ttl: 60}
process_pool: {workers: 3, max_tasks_per_child: 0}
celery: {broker_url: "amqp://h", queue: q, lease_s: 2.5, max_attempts: 2}
limits: {max_concurrent_handlers: 7, max_payload_bytes: 10}
serialization: {signing_key: [a, b], format: pickle, modules: [%]}
thread_scheduling: depth-first
executor: process_pool
listeners:
  - name: desk
    payload_class: %.Ask
    handler: "%:answer"
    agent: true
    peers: [work]
    accepts_errors: no
  - name: work
    payload_class: %:Ask
    handler: %.compute
    cpu_bound: yes
    timeout_s: 30
    retries: 2
    backoff_s: 1e1
""")
    )
    desk, work = organism.listeners
    assert (organism.name, organism.version, organism.path) == ("audit", "1", Path("organism.yaml"))
    assert (organism.backend.backend_type, organism.backend.redis_url) == ("redis", "redis://h/1")
    assert (organism.process_pool.workers, organism.process_pool.max_tasks_per_child) == (3, 0)
    assert (organism.celery.queue, organism.celery.lease_s) == ("q", 2.5)
    assert organism.limits.max_concurrent_handlers == 7
    assert organism.serialization.signing_key == ("a", "b")
    assert organism.thread_scheduling == "depth-first"
    assert (desk.agent, desk.peers, desk.takes_errors) == (True, ("work",), False)
    assert (work.cpu_bound, work.timeout_s, work.retries, work.backoff_s) == (True, 30.0, 2, 10.0)
    assert work.handler is sys.modules[module].compute
    assert organism.executor_of(work) == "process_pool"


def test_a_small_file_has_defaults(write: Write) -> None:
    """Only a name and a listener are required; empty sections are none."""
    organism = with_settings(write, "limits:\ncelery:\n")
    assert organism.process_pool.workers == (os.cpu_count() or 1)
    assert organism.backend.backend_type == "memory"
    assert organism.limits.max_hop_bytes == 64 * 1024**2
    assert organism.serialization.signing_key == ()
    assert organism.listeners[0].backoff_s == 0.5


def test_every_mistake_at_once(write: Write, module: str) -> None:
    """Each has file, line, path and what would be right; none follows from another."""
    write("""\
organism: {nam: o}
backend:
  type: reddis
limits: {max_waiting: many, max_scatter: 0}
serialization: {format: pickle}
thread_scheduling: deep-first
listeners:
  - name: desk
    payload_class: %.Ask
    handler: %.anser
    cpu_bound: "yes please"
    timout_s: 3
    agent: maybe
    peers: [desk, dsek]
  - {name: desk, payload_class: %.Plain, handler: no_such_module.f, executor: proces_pool}
  - 7
  - {name: last, payload_class: Ask, handler: %.answer, peers: last, zzzz: 1}
""")
    known = "name, handler, payload_class, description, agent, peers, cpu_bound, broadcast"
    assert problems(Path("organism.yaml")) == [
        'organism.yaml:1: organism: missing key "name"',
        'organism.yaml:1: organism: unknown key "nam"; did you mean "name"?',
        'organism.yaml:3: backend.type: expected one of "memory", "manager", "redis", got "reddis"',
        "organism.yaml:4: limits.max_scatter: must be at least 1, got 0",
        'organism.yaml:4: limits.max_waiting: expected int, got "many"',
        (
            "organism.yaml:5: serialization: format pickle runs whatever it reads;"
            " set signing_key as well"
        ),
        (
            'organism.yaml:6: thread_scheduling: expected one of "breadth-first", "depth-first",'
            ' got "deep-first"'
        ),
        (
            f'organism.yaml:10: listeners[0].handler: module "{module}" has no attribute "anser";'
            ' did you mean "answer"?'
        ),
        'organism.yaml:11: listeners[0].cpu_bound: expected bool, got "yes please"',
        'organism.yaml:12: listeners[0]: unknown key "timout_s"; did you mean "timeout_s"?',
        'organism.yaml:13: listeners[0].agent: expected bool, got "maybe"',
        'organism.yaml:14: listeners[0].peers[1]: no listener "dsek"; did you mean "desk"?',
        (
            'organism.yaml:15: listeners[1].executor: unknown executor "proces_pool";'
            ' did you mean "process_pool"?'
        ),
        (
            'organism.yaml:15: listeners[1].handler: no module "no_such_module" in this folder'
            " or on sys.path"
        ),
        (
            'organism.yaml:15: listeners[1].name: "desk" is taken;'
            " only broadcast: true on all of them shares a name"
        ),
        "organism.yaml:15: listeners[1].payload_class: must be a dataclass",
        "organism.yaml:16: listeners[2]: expected a mapping of settings, got 7",
        (
            "organism.yaml:17: listeners[3].payload_class: expected an import path,"
            ' "package.module.name" or "package.module:name", got "Ask"'
        ),
        'organism.yaml:17: listeners[3].peers: expected a list, got "last"',
        (
            f'organism.yaml:17: listeners[3]: unknown key "zzzz"; known keys: {known},'
            " timeout_s, retries, backoff_s, executor, accepts_errors"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "organism.yaml: the file is empty"),
        ("# nothing\n", "organism.yaml: the file is empty"),
        ("- a\n", "organism.yaml:1: expected a mapping with organism: and listeners:"),
        ("a: b\nc: d: e\n", "organism.yaml:2:5: YAML: mapping values are not allowed"),
        ("a: *b\n", "organism.yaml:1:4: YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "organism.yaml:2:1: YAML: expected a single document"),
        ("a: 1\nb: \x07\n", "organism.yaml:2: YAML: "),
        ("a: [" * 1000, "organism.yaml: nested more than 50 deep"),
        ("a: &a [*a]\n", "organism.yaml: nested more than 50 deep"),
        ("a: &a\n  <<: *a\n", "organism.yaml: nested more than 50 deep"),
    ],
)
def test_what_is_no_organism_at_all(write: Write, text: str, expected: str) -> None:
    """One line says what is in the way, with line and column where there are any."""
    (problem,) = problems(write(text))
    assert problem.startswith(expected)
    assert "\n" not in problem


def test_a_file_that_is_not_there(file: Path, tmp_path: Path) -> None:
    """Missing, or a folder."""
    assert problems(file) == ["organism.yaml: no such file"]
    assert problems(tmp_path) == [f"{tmp_path}: can't be read: Is a directory"]


def test_a_file_in_another_encoding(file: Path) -> None:
    """The line of the first bad byte is told; a byte order mark is no mistake."""
    file.write_bytes(b"organism:\n  name: caf\xe9\n")
    assert problems(file) == ["organism.yaml:2: not UTF-8: byte 0xe9"]
    file.write_bytes(b"\xef\xbb\xbforganism: {name: o}\n")
    assert problems(file) == ['organism.yaml:1: missing key "listeners"']


def test_a_key_given_twice(write: Write) -> None:
    """YAML forbids it; most parsers silently take the last."""
    write("organism: {name: o}\nlimits: {}\nlimits: {}\n" + LISTENERS)
    assert problems(Path("organism.yaml")) == [
        "organism.yaml:3: limits: given twice; first on line 2"
    ]


def test_empty_is_missing(write: Write) -> None:
    """A name of no letters, a list of no listeners."""
    assert problems(write('organism: {name: ""}\nlisteners: []\n')) == [
        "organism.yaml:1: organism: name must not be empty",
        "organism.yaml:2: listeners: expected a list of listeners",
    ]


def test_merge_keys_share_settings(write: Write) -> None:
    """What a listener writes itself goes before what it merges."""
    organism = load_organism(
        write("""
organism: {name: o}
listeners:
  - &base {name: a, payload_class: %.Ask, handler: %.answer, retries: 2}
  - {<<: *base, name: b}
  - {<<: [*base], name: c, retries: 3}
""")
    )
    assert [(each.name, each.retries) for each in organism.listeners] == [
        ("a", 2),
        ("b", 2),
        ("c", 3),
    ]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("limits: {<<: 3}", "limits: <<: expected a mapping"),
        ("backend: !thing {}", 'backend: unknown YAML tag "!thing"'),
        ("? [a]\n: b", "a key must be a word"),
        ("celery: [a]", "celery: expected a mapping of settings, got a list"),
        ("backend: {redis_ttl: -1}", "backend.redis_ttl: must be at least 0, got -1"),
        ("process_pool: {workers: 1.5}", "process_pool.workers: expected int, got 1.5"),
        ("process_pool: {workers: true}", "process_pool.workers: expected int, got true"),
        ("process_pool: {workers: }", "process_pool.workers: expected int, got nothing"),
        ("celery: {queue: 12}", "celery.queue: expected str, got 12"),
        ("celery: {lease_s: .inf}", 'celery.lease_s: expected float, got ".inf"'),
        ("celery: {queue: {a: b}}", "celery.queue: expected str, got a mapping"),
        (
            "serialization: {modules: [nope_nope]}",
            'serialization.modules[0]: no module "nope_nope"',
        ),
        ("serialization: {signing_key: [a, '']}", "serialization: signing_key: expected keys"),
        ("executor: cloud", 'executor: unknown executor "cloud"; known: celery, inline'),
    ],
)
def test_one_wrong_setting(write: Write, settings: str, problem: str) -> None:
    """Its path, and what was expected."""
    write(f"organism: {{name: o}}\n{settings}\n{LISTENERS}")
    (found,) = problems(Path("organism.yaml"))
    assert found.startswith(f"organism.yaml:2: {problem}")


LEGACY = """
organism: {name: old, port: 8765, identity: key.pem, version: "0.1.0", description: d}
max_concurrent_pipelines: 50
max_concurrent_handlers: 9
max_concurrent_per_agent: 2
thread_scheduling: depth-first
llm: {key: "${NOT_SET_ANYWHERE}"}
gateways: []
oob: {}
meta: {}
listeners:
  - {name: a, payload_class: %.Ask, handler: %.answer, agent: true, prompt: p, model: m}
  - {name: b, payload_class: %.Ask, handler: %.answer, agent: true, prompt: q, tool: true}
  - name: c
    payload_class: %.Ask
    handler: %.answer
    description: >
      What it is for.
    peers: []
    temperature: 0.3
    max_tokens: 100
    verbose: true
    confirm_actions: [a]
    metadata: {team: x}
    timeout_seconds: 60
"""


def test_xml_pipeline_files_load(write: Write) -> None:
    """Their limits work; what has no effect here is told once a name."""
    write(LEGACY)
    with pytest.warns(ConfigWarning) as caught:
        organism = load_organism("organism.yaml")
    assert organism.limits.max_concurrent_handlers == 9
    assert organism.limits.max_concurrent_per_agent == 2
    assert organism.thread_scheduling == "depth-first"
    elsewhere = "ignored; it belongs to another subsystem"
    assert [str(each.message) for each in caught] == [
        f"organism.yaml:7: llm: {elsewhere}",
        f"organism.yaml:8: gateways: {elsewhere}",
        f"organism.yaml:9: oob: {elsewhere}",
        f"organism.yaml:10: meta: {elsewhere}",
        f"organism.yaml:12: listeners[0].prompt: {elsewhere}",
        f"organism.yaml:12: listeners[0].model: {elsewhere}",
        f"organism.yaml:13: listeners[1].tool: {elsewhere}",
        f"organism.yaml:20: listeners[2].temperature: {elsewhere}",
        f"organism.yaml:21: listeners[2].max_tokens: {elsewhere}",
        f"organism.yaml:22: listeners[2].verbose: {elsewhere}",
        f"organism.yaml:23: listeners[2].confirm_actions: {elsewhere}",
        f"organism.yaml:24: listeners[2].metadata: {elsewhere}",
        "organism.yaml:25: listeners[2].timeout_seconds: ignored; it is called timeout_s here",
        "organism.yaml:3: max_concurrent_pipelines: ignored; it has no meaning here",
        "organism.yaml:2: organism.port: ignored; it has no meaning here",
        "organism.yaml:2: organism.identity: ignored; it has no meaning here",
    ]


def test_limits_may_stand_in_the_organism_section(write: Write) -> None:
    """In one place, that is; two are a mistake, not a matter of precedence."""
    text = "organism: {name: o, thread_scheduling: depth-first, max_concurrent_handlers: 3}\n"
    organism = load_organism(write(text + LISTENERS))
    assert organism.limits.max_concurrent_handlers == 3
    assert organism.thread_scheduling == "depth-first"
    write(f"{text}max_concurrent_handlers: 3\n{LISTENERS}")
    assert problems(Path("organism.yaml")) == [
        (
            "organism.yaml:1: organism.max_concurrent_handlers:"
            " already given as max_concurrent_handlers, line 2"
        )
    ]


def test_a_sound_file_warns_of_nothing(write: Write) -> None:
    """Warnings are for settings without effect."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_settings(write, "")


def test_every_setting_has_a_description() -> None:
    """The configuration reference is made of them."""
    for section in settings_of(OrganismFile).values():
        assert section.meta.doc
        assert all(setting.meta.doc for setting in section.inner.values())
