"""An organism: its listeners and settings, typed and checked, wherever they come from.

The loader of `organism.yaml` and `StreamPump.register` build the same objects
and are refused for the same reasons. Nothing here does I/O.
"""

import contextlib
import functools
import inspect
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from backends.protocol import BACKEND_TYPES, BackendConfig
from backends.terms import Terms
from pipeline.errors import ConfigError
from pipeline.settings import Meta, check_ranges, near, quoted, range_problems

ThreadScheduling = Literal["breadth-first", "depth-first"]
WireFormat = Literal["msgpack", "pickle"]

LISTENER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

#: Where a `cpu_bound` handler runs by default, by type of backend.
CPU_EXECUTORS: Mapping[str, str] = MappingProxyType(
    {"memory": "process_pool", "manager": "process_pool", "redis": "celery"}
)
INLINE = "inline"


@dataclass(frozen=True)
class Listener:
    """A named handler and the payload it accepts. Not checked until `check_listeners`."""

    name: Annotated[str, Meta("What messages are addressed to; letters, digits and `_.-`.")]
    handler: Annotated[Callable[..., Any], Meta("Import path of the function that is called.")]
    payload_class: Annotated[type, Meta("Import path of the dataclass it accepts.")]
    description: Annotated[str, Meta("What it does, for agents that have it as a peer.")] = ""
    agent: Annotated[bool, Meta("Knows its name; may write to its peers only.")] = False
    peers: Annotated[tuple[str, ...], Meta("The listeners an agent may write to.")] = ()
    cpu_bound: Annotated[bool, Meta("Runs in another process or on a worker.")] = False
    broadcast: Annotated[bool, Meta("Each listener of this name gets the message.")] = False
    timeout_s: Annotated[float | None, Meta("Seconds one attempt may take.", above=0)] = None
    retries: Annotated[int, Meta("Further attempts after one that failed.", minimum=0)] = 0
    backoff_s: Annotated[float, Meta("Seconds before the first retry; doubles.", minimum=0)] = 0.5
    executor: Annotated[str | None, Meta("Where it runs, if not in the usual place.")] = None
    accepts_errors: Annotated[
        bool | None, Meta("Receives failed calls as `ErrorMessage`; by default agents do.")
    ] = None

    @property
    def takes_errors(self) -> bool:
        """True when a failed call comes back to the handler rather than to its caller."""
        return self.agent if self.accepts_errors is None else self.accepts_errors


@dataclass(frozen=True)
class ProcessPoolSettings:
    """Local processes for `cpu_bound` handlers."""

    workers: Annotated[int, Meta("Processes; by default one a processor.", minimum=1)] = field(
        default_factory=lambda: os.cpu_count() or 1
    )
    max_tasks_per_child: Annotated[
        int | None, Meta("Runs after which a process is replaced; 0 is never.", minimum=0)
    ] = 100

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class CelerySettings:
    """How `cpu_bound` handlers reach the Celery fleet."""

    broker_url: Annotated[
        str, Meta("Where Celery's broker is; by default the backend's Redis.", secret=True)
    ] = field(default="", repr=False)
    queue: Annotated[str, Meta("The queue workers take from.")] = "cpu"
    lease_s: Annotated[float, Meta("Seconds until a silent worker counts as dead.", above=0)] = 10
    max_attempts: Annotated[int, Meta("Workers a message may kill.", minimum=1)] = 3
    window: Annotated[int, Meta("Most batches published ahead, per pool process.", minimum=1)] = 4
    no_worker_s: Annotated[float, Meta("Seconds to wait for a worker that fits.", minimum=0)] = 300
    batch_budget_ms: Annotated[float, Meta("Milliseconds a batch may start.", minimum=0)] = 50
    max_memory_mb: Annotated[
        int | None, Meta("Resident MiB above which a process is replaced.", minimum=1)
    ] = None
    visibility_timeout_s: Annotated[
        int | None,
        Meta(
            "Seconds until Redis hands out again what is unacknowledged; null is never.", minimum=1
        ),
    ] = None
    grace_s: Annotated[
        float, Meta("Seconds a stopping worker gives its running handlers.", minimum=0)
    ] = 30

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def terms(self) -> Terms:
        """When a silent worker or pump counts as dead."""
        return Terms(self.lease_s, self.max_attempts, self.no_worker_s)


@dataclass(frozen=True)
class Limits:
    """Bounds of one pump."""

    max_concurrent_handlers: Annotated[int, Meta("Handlers running at once.", minimum=1)] = 20
    max_concurrent_per_agent: Annotated[int, Meta("Of these, for one agent.", minimum=1)] = 5
    max_payload_bytes: Annotated[int, Meta("One encoded payload.", minimum=1)] = 8 * 1024**2
    max_waiting: Annotated[int, Meta("Messages above which `inject` waits.", minimum=1)] = 10_000
    max_scatter: Annotated[int, Meta("Members of one scatter.", minimum=1)] = 10_000
    max_hop_bytes: Annotated[int, Meta("All one handler run may send.", minimum=1)] = 64 * 1024**2

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Serialization:
    """How payloads travel between processes."""

    format: Annotated[WireFormat, Meta("`pickle` needs a signing key.")] = "msgpack"
    signing_key: Annotated[
        tuple[bytes | str, ...],
        Meta("Signs every record; of several the first, all verify.", secret=True, single=True),
    ] = field(default=(), repr=False)
    modules: Annotated[tuple[str, ...], Meta("Modules whose dataclasses may be received.")] = ()

    def __post_init__(self) -> None:
        # A bare string would make every character a key.
        if type(self.signing_key) is not tuple or not all(self.signing_key):
            raise ConfigError("signing_key: expected keys that are not empty")
        if self.format == "pickle" and not self.signing_key:
            raise ConfigError("format pickle runs whatever it reads; set signing_key as well")


#: What `BackendConfig`, which knows nothing of organisms, would say of its fields.
BACKEND_META: Mapping[str, Meta] = MappingProxyType(
    {
        "backend_type": Meta("Which store holds it.", key="type", choices=BACKEND_TYPES),
        "redis_url": Meta("Where Redis is.", secret=True),
        "redis_prefix": Meta("Begins every key; separates organisms."),
        "redis_ttl": Meta("Seconds an idle thread is kept; 0 is for ever.", minimum=0),
        "manager_address": Meta("`host:port` or a socket; none starts a private server."),
        "manager_authkey": Meta("Shared secret of the Manager.", secret=True),
        "max_slots_per_thread": Meta("Messages one thread may hold.", minimum=1),
        "max_threads": Meta("Conversations open at once.", minimum=1),
        "keep_closed": Meta("Ended conversations kept for `trace`.", minimum=0),
        "redis_replicas": Meta(
            "Replicas that must have a write before anybody hears of it.", minimum=0
        ),
    }
)


@dataclass(frozen=True)
class Organism:
    """Everything a pump needs to know.

    Raises:
        ConfigError: with every problem of its listeners.
    """

    name: str
    listeners: tuple[Listener, ...] = ()
    backend: BackendConfig = field(default_factory=BackendConfig)
    process_pool: ProcessPoolSettings = field(default_factory=ProcessPoolSettings)
    celery: CelerySettings = field(default_factory=CelerySettings)
    limits: Limits = field(default_factory=Limits)
    serialization: Serialization = field(default_factory=Serialization)
    thread_scheduling: ThreadScheduling = "breadth-first"
    #: Where `cpu_bound` handlers run, if not in the usual place.
    executor: str | None = None
    version: str = ""
    description: str = ""
    #: The file it was loaded from.
    path: Path | None = None

    def __post_init__(self) -> None:
        problems = [] if self.name else ["an organism needs a name"]
        problems += check_listeners(self.listeners)
        if problems:
            raise ConfigError(*problems)

    def executor_of(self, listener: Listener) -> str:
        """The name of the executor that runs *listener*."""
        return executor_name(listener, self.backend.backend_type, self.executor)


def executor_name(listener: Listener, backend_type: str, default: str | None = None) -> str:
    """Where *listener* runs: its own choice, else by what it is and the backend.

    *default* is the organism's choice for `cpu_bound` handlers.
    """
    if listener.executor:
        return listener.executor
    if not listener.cpu_bound:
        return INLINE
    return default or CPU_EXECUTORS[backend_type]


class ListenerProblem(NamedTuple):
    """What is wrong with the listener at `position`.

    `fields` are the settings involved; the first is the one to point at. `item` is
    a position within it, where it is a list.
    """

    position: int
    text: str
    fields: tuple[str, ...]
    item: int | None = None


def check_listeners(listeners: Sequence[Listener]) -> list[str]:
    """Everything wrong with these listeners, one line a problem, in their order."""
    return [
        f"listener {quoted(str(listeners[position].name))}: {fields[0]}: {text}"
        for position, text, fields, _ in listener_problems(listeners)
    ]


def check_listener(listener: Listener) -> list[str]:
    """What is wrong with one listener, its peers and its namesakes aside."""
    return [f"listener {quoted(str(listener.name))}: {f[0]}: {text}" for f, text in _own(listener)]


def listener_problems(listeners: Sequence[Listener]) -> list[ListenerProblem]:
    """The same as `check_listeners`, for a caller that knows where each setting stands."""
    found = [
        ListenerProblem(index, text, fields)
        for index, listener in enumerate(listeners)
        for fields, text in _own(listener)
    ]
    found += _peer_problems(listeners)
    found += _namesakes(listeners)
    return sorted(found, key=lambda problem: problem.position)


def _own(listener: Listener) -> Iterator[tuple[tuple[str, ...], str]]:
    """Problems that one listener has by itself: the settings involved, and why."""
    if not isinstance(listener.name, str) or not LISTENER_NAME.fullmatch(listener.name):
        yield ("name",), "must begin with a letter or _ and go on with letters, digits, _ . -"
    if not (isinstance(listener.payload_class, type) and is_dataclass(listener.payload_class)):
        yield ("payload_class",), "must be a dataclass"
    text = _handler_problem(listener.handler)
    if text:
        yield ("handler",), text
    elif listener.cpu_bound or listener.executor not in (None, INLINE):
        text = _import_problem(listener.handler)
        if text:
            yield ("handler", "cpu_bound", "executor"), text
    if listener.peers and not listener.agent:
        yield ("peers", "agent"), "only agents have peers; add agent: true or remove peers"
    for name, text in range_problems(listener):
        yield (name,), text


def _handler_problem(handler: Any) -> str | None:
    """Why *handler* can't be called with a payload and its metadata, or None."""
    if isinstance(handler, type) or not callable(handler):
        return "must be a function"
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        return "must return its messages, not yield them"
    try:
        inspect.signature(handler).bind(None, None)
    except TypeError:
        return "must accept two positional arguments: payload, metadata"
    except ValueError:  # written in C, and silent about its parameters
        return None
    return None


def _import_problem(handler: Callable[..., Any]) -> str | None:
    """Why another process can't import *handler* by its name, or None."""
    wanted = "a cpu_bound handler must be a module-level function, so that other processes find it"
    module, path = getattr(handler, "__module__", None), getattr(handler, "__qualname__", None)
    if not module or not path:
        return f"{wanted}; this is a {type(handler).__name__}"
    if "<lambda>" in path:
        return f"{wanted}; this is a lambda"
    if "<locals>" in path:
        return f"{wanted}; this one is defined inside a function"
    there: Any = None
    with contextlib.suppress(AttributeError, KeyError):
        there = functools.reduce(getattr, path.split("."), sys.modules[module])
    return None if there is handler else f"{wanted}; {module}.{path} is not it"


def _peer_problems(listeners: Sequence[Listener]) -> Iterator[ListenerProblem]:
    names = {str(listener.name): None for listener in listeners}
    for index, listener in enumerate(listeners):
        for item, peer in enumerate(listener.peers):
            if peer not in names:
                text = f"no listener {quoted(peer)}{near(peer, names)}"
                yield ListenerProblem(index, text, ("peers",), item)


def _namesakes(listeners: Sequence[Listener]) -> Iterator[ListenerProblem]:
    """Listeners that share a name without all of them being `broadcast`."""
    by_name = defaultdict(list)
    for index, listener in enumerate(listeners):
        by_name[listener.name].append(index)
    for name, indices in by_name.items():
        if all(listeners[index].broadcast for index in indices):
            continue
        for index in indices[1:]:
            text = (
                f"{quoted(str(name))} is taken; only broadcast: true on all of them shares a name"
            )
            yield ListenerProblem(index, text, ("name", "broadcast"))
