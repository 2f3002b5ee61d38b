"""Organisms built in code: defaults, and what is refused."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.organism import (
    CelerySettings,
    Limits,
    Listener,
    Organism,
    ProcessPoolSettings,
    Serialization,
    check_listener,
    check_listeners,
    executor_name,
)
from pipeline.settings import near, quoted


@dataclass
class Ask:
    text: str


async def answer(payload: Any, metadata: Any) -> None: ...


def compute(payload: Any, metadata: Any) -> None: ...


def lonely(payload: Any) -> None: ...


def stream(payload: Any, metadata: Any) -> Any:
    yield payload


class Callables:
    def __call__(self, payload: Any, metadata: Any) -> None: ...

    def method(self, payload: Any, metadata: Any) -> None: ...


LISTENER = Listener("desk", answer, Ask)


def test_a_sound_listener_has_no_problems() -> None:
    """Nothing is said about what is right."""
    assert check_listeners([LISTENER]) == []


@pytest.mark.parametrize("name", ["", "9lives", "a b", "a/b", "-a", "a\n", "ä"])
def test_a_bad_name_is_refused(name: str) -> None:
    """Names are words: they end up in task names, keys and chains."""
    (problem,) = check_listener(replace(LISTENER, name=name))
    assert problem.startswith(f"listener {quoted(name)}: name: must begin with")


@pytest.mark.parametrize("name", ["a", "_x", "calculator.add", "a-b_c9"])
def test_dots_and_dashes_may_be_in_a_name(name: str) -> None:
    """A dotted name is one name."""
    assert check_listener(replace(LISTENER, name=name)) == []


@pytest.mark.parametrize("wrong", [str, Ask("an instance"), None])
def test_a_payload_class_is_a_dataclass(wrong: Any) -> None:
    """Neither another class nor an instance will do."""
    (problem,) = check_listener(replace(LISTENER, payload_class=wrong))
    assert problem == 'listener "desk": payload_class: must be a dataclass'


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (None, "must be a function"),
        (Ask, "must be a function"),
        (lonely, "must accept two positional arguments: payload, metadata"),
        (stream, "must return its messages, not yield them"),
    ],
)
def test_a_handler_takes_a_payload_and_its_metadata(handler: Any, why: str) -> None:
    """What can't be called so is refused before the first message."""
    assert check_listener(replace(LISTENER, handler=handler)) == [
        f'listener "desk": handler: {why}'
    ]


@pytest.mark.parametrize(
    "handler",
    [answer, compute, Callables(), Callables().method, functools.partial(compute), print, max],
)
def test_anything_callable_with_two_arguments_is_a_handler(handler: Callable[..., Any]) -> None:
    """Functions, objects, methods, partials and what is written in C."""
    assert check_listener(replace(LISTENER, handler=handler)) == []


def _inside() -> Callable[..., None]:
    def inner(payload: Any, metadata: Any) -> None: ...

    return inner


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (lambda _payload, _metadata: None, "this is a lambda"),
        (_inside(), "this one is defined inside a function"),
        (functools.partial(compute), "this is a partial"),
        (Callables(), "this is a Callables"),
        (functools.wraps(compute)(_inside()), "test_organism.compute is not it"),
    ],
)
@pytest.mark.parametrize("where", [{"cpu_bound": True}, {"executor": "process_pool"}])
def test_other_processes_find_a_cpu_bound_handler_by_name(
    handler: Any, why: str, where: dict[str, Any]
) -> None:
    """One they would not find, or mistake for another, is refused."""
    (problem,) = check_listener(replace(LISTENER, handler=handler, **where))
    assert problem.endswith(why)
    assert "must be a module-level function" in problem


def test_a_module_level_function_may_be_cpu_bound() -> None:
    """Plain and async alike."""
    assert check_listener(replace(LISTENER, handler=compute, cpu_bound=True)) == []
    assert check_listener(replace(LISTENER, cpu_bound=True)) == []


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("timeout_s", 0, "must be above 0, got 0"),
        ("timeout_s", float("nan"), "expected a finite number, got nan"),
        ("retries", -1, "must be at least 0, got -1"),
        ("retries", True, "expected a finite number, got True"),
        ("backoff_s", "1", "expected a finite number, got '1'"),
    ],
)
def test_numbers_have_a_range(field: str, value: Any, why: str) -> None:
    """Out of it is refused wherever the number comes from."""
    changed: dict[str, Any] = {field: value}
    assert check_listener(replace(LISTENER, **changed)) == [f'listener "desk": {field}: {why}']


def test_peers_exist() -> None:
    """A peer nobody is called is a mistake, with a hint at a near name."""
    agent = replace(LISTENER, agent=True, peers=("desk", "dsek"))
    assert check_listeners([agent]) == [
        'listener "desk": peers: no listener "dsek"; did you mean "desk"?'
    ]


def test_only_agents_have_peers() -> None:
    """Peers on a plain handler would bind nobody."""
    (problem,) = check_listeners([replace(LISTENER, peers=("desk",))])
    assert problem.endswith("only agents have peers; add agent: true or remove peers")


def test_a_name_is_shared_by_broadcast_only() -> None:
    """All that share it say so, else each further one is a duplicate."""
    shared = replace(LISTENER, broadcast=True)
    assert check_listeners([shared, shared]) == []
    assert len(check_listeners([shared, LISTENER, shared])) == 2


def test_an_organism_refuses_all_its_mistakes_at_once() -> None:
    """One error carries every problem."""
    with pytest.raises(ConfigError) as caught:
        Organism("", (replace(LISTENER, name="9"), replace(LISTENER, retries=-1)))
    assert len(caught.value.problems) == 3


def test_pickle_needs_a_signing_key() -> None:
    """Unsigned pickle would run whatever anybody wrote to Redis."""
    with pytest.raises(ConfigError, match="set signing_key as well"):
        Serialization(format="pickle")
    assert Serialization(format="pickle", signing_key=("k",)).format == "pickle"


@pytest.mark.parametrize("key", ["abc", b"abc", ("",), ("new", "")])
def test_a_weak_signing_key_is_refused(key: Any) -> None:
    """Neither an empty key, nor a string taken for a list of characters."""
    with pytest.raises(ConfigError, match="expected keys that are not empty"):
        Serialization(signing_key=key)


def test_secrets_stay_out_of_repr() -> None:
    """Settings are logged; keys are not."""
    settings = (CelerySettings(broker_url="redis://:hush@h"), Serialization(signing_key=("hush",)))
    assert "hush" not in repr(settings)


def test_settings_check_their_ranges() -> None:
    """Every value out of range is named."""
    with pytest.raises(ConfigError) as caught:
        Limits(max_waiting=0, max_scatter=-1)
    assert caught.value.problems == (
        "max_waiting: must be at least 1, got 0",
        "max_scatter: must be at least 1, got -1",
    )
    assert ProcessPoolSettings(workers=1, max_tasks_per_child=None).max_tasks_per_child is None


@pytest.mark.parametrize(
    ("settings", "backend", "default", "expected"),
    [
        ({}, "redis", None, "inline"),
        ({}, "redis", "celery", "inline"),
        ({"cpu_bound": True}, "memory", None, "process_pool"),
        ({"cpu_bound": True}, "manager", None, "process_pool"),
        ({"cpu_bound": True}, "redis", None, "celery"),
        ({"cpu_bound": True}, "redis", "process_pool", "process_pool"),
        ({"cpu_bound": True, "executor": "inline"}, "redis", "celery", "inline"),
        ({"executor": "process_pool"}, "memory", None, "process_pool"),
    ],
)
def test_where_a_listener_runs(
    settings: dict[str, Any], backend: str, default: str | None, expected: str
) -> None:
    """Its own choice, then the organism's for cpu_bound ones, then the backend's."""
    assert executor_name(replace(LISTENER, **settings), backend, default) == expected
    assert Organism("o").executor_of(LISTENER) == "inline"


@pytest.mark.parametrize(
    ("agent", "accepts", "expected"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_agents_take_errors_by_default(
    agent: bool,  # noqa: FBT001  a table's column
    accepts: bool | None,  # noqa: FBT001  a table's column
    expected: bool,  # noqa: FBT001  a table's column
) -> None:
    """`accepts_errors` overrides it either way."""
    assert replace(LISTENER, agent=agent, accepts_errors=accepts).takes_errors is expected


def test_near_names_are_not_sought_among_very_many() -> None:
    """Suggesting must not take longer than reading."""
    assert near("a1", ["a10"]) == '; did you mean "a10"?'
    assert near("a1", [f"a{number}" for number in range(1000)]) == ""


def test_a_quoted_value_is_one_short_printable_line() -> None:
    """Values in errors can't forge lines or control a terminal."""
    assert quoted("a\nb\x1b[2J") == '"a\\nb\\u001b[2J"'
    assert quoted("\x9b") == '"\\u009b"'
    assert len(quoted("x" * 10_000)) < 100
