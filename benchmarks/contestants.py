"""Who takes part: how each is installed, which workers it needs, and how one run of it goes."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measuring import peer_python
from benchmarks.ours import VARIABLE
from benchmarks.processes import private_redis, run_to_end, scratch_folder, started
from benchmarks.producer import PROCESSES

OURS, POOL, CELERY, COUNTED = "celery-pump", "ProcessPoolExecutor", "celery", "celery, counted"
_TWO = str(PROCESSES)


@dataclass(frozen=True)
class Contestant:
    """One library, in its best documented form with two worker processes."""

    name: str
    #: What its producer imports: `benchmarks.producer` says what it must have.
    module: str
    #: Of its own venv, pinned; none is ours.
    requirements: Sequence[str] = ()
    #: Arguments of its venv's Python, for each command that runs workers.
    workers: Sequence[Sequence[str]] = ()
    needs_redis: bool = True
    #: False when nothing comes back from its workers.
    has_results: bool = True
    #: Environment of workers and producer, by scenario.
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def python(self) -> str:
        """The interpreter that runs it."""
        if not self.requirements:
            return sys.executable
        return peer_python(self.name.partition(",")[0], *self.requirements)


def _peer(name: str, requirements: Sequence[str], *workers: str, **settings: Any) -> Contestant:
    module = f"benchmarks.peers.on_{name.replace(', ', '_')}"
    commands = [words.format(module=module).split() for words in workers]
    return Contestant(name, module, requirements, commands, **settings)


_REDIS = ("redis==8.1.0", "hiredis==3.5.0")
_CELERY = ("celery[redis]==5.7.0", "kombu==5.7.0", *_REDIS)
_CELERY_WORKER = (
    "-m celery -A {module}:app worker -P prefork"
    f" -c {_TWO} -l warning --without-gossip --without-mingle --without-heartbeat"
)
#: Its own command starts one process each for the queue and the workers' health.
_HUEY_WORKER = "-m huey.bin.huey_consumer {module}.huey -q -k process -w " + _TWO
PEERS = (
    _peer(CELERY, _CELERY, _CELERY_WORKER),
    _peer(COUNTED, _CELERY, _CELERY_WORKER, has_results=False),
    _peer(
        "dramatiq",
        ("dramatiq==2.2.1", *_REDIS),
        # As by default, with 8 threads each; one alone fetches too few messages at a time.
        "-m dramatiq {module} -p " + _TWO,
    ),
    _peer(
        "huey",
        ("huey==3.5.4", *_REDIS),
        _HUEY_WORKER,
        environment={"each": {"BENCH_LATENCY": "1"}},
    ),
    _peer(
        "saq",
        ("saq==0.26.4", "typing_extensions", *_REDIS),
        "-m saq {module}.settings --quiet --workers " + _TWO,
    ),
    _peer(
        "taskiq",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", "uvloop==0.23.0", *_REDIS),
        "-m taskiq worker {module}:broker --log-level WARNING --workers " + _TWO,
    ),
    _peer(
        "arq",
        # It asks for an older redis-py.
        ("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0"),
        *["-m arq {module}.WorkerSettings"] * PROCESSES,
    ),
    _peer(
        "rq",
        ("rq==3.0.0", *_REDIS),
        "-m rq.cli worker-pool -q -w rq.worker.SimpleWorker -u {{redis}} -n " + _TWO,
    ),
)
OURSELVES = Contestant(
    OURS,
    "benchmarks.ours",
    workers=[
        ["-P", "-m", "pipeline.cli.main", "worker", "{organism}", "-l", "warning", "-c", _TWO]
    ],
)
LOCAL_POOL = Contestant(POOL, "benchmarks.pool", needs_redis=False)
FIELD = (OURSELVES, LOCAL_POOL, *PEERS)


def write_organism(folder: Path, url: str, **celery: float) -> Path:
    """Our organism; all as by default but for the conversations that may be open at once."""
    listeners = [
        {
            "name": name,
            "handler": "benchmarks.ours.work",
            "payload_class": "benchmarks.ours.Work",
            "cpu_bound": True,
        }
        # `mixed` sends its small and its large messages to one of these, or to two.
        for name in ("work", "large")
    ]
    organism = {
        "organism": {"name": "bench"},
        "backend": {"type": "redis", "redis_url": url, "max_threads": 10_000},
        "celery": celery,
        "listeners": listeners,
    }
    path = folder / "organism.yaml"
    path.write_text(yaml.safe_dump(organism))
    return path


@dataclass(frozen=True)
class Run:
    """One contestant's run of one scenario: Redis, workers and producer of its own."""

    contestant: Contestant
    #: The producer's assignment, but for the sessions.
    assignment: Mapping[str, Any]
    producer: str = "benchmarks.producer"
    #: True where handlers burn so much that a worker should hold no second message.
    is_busy: bool = False
    #: Settings of our organism's `celery` section.
    celery: Mapping[str, float] = field(default_factory=dict)

    def __call__(self) -> dict[str, Any]:
        """What the producer printed."""
        python = self.contestant.python()
        scenario = self.assignment["scenario"]
        variables = dict(self.contestant.environment.get(scenario, {}))
        if self.is_busy:
            variables["BENCH_BUSY"] = "1"
        sessions = []
        with ExitStack() as stack:
            folder = stack.enter_context(scratch_folder())
            if self.contestant.needs_redis:
                url, pid = stack.enter_context(private_redis(folder))
                organism = write_organism(folder, url, **self.celery)
                sessions.append(pid)
                variables |= {"BENCH_REDIS": url, VARIABLE: str(organism)}
                for words in self.contestant.workers:
                    command = [word.format(organism=organism, redis=url) for word in words]
                    worker = started([python, *command], folder, variables)
                    sessions.append(stack.enter_context(worker).process.pid)
            assignment = json.dumps({**self.assignment, "sessions": sessions})
            command = [python, "-m", self.producer, self.contestant.module, assignment]
            printed: dict[str, Any] = json.loads(run_to_end(command, folder, variables))
            return printed


def chosen(only: Sequence[str], field: Sequence[Contestant] = FIELD) -> list[Contestant]:
    """The contestants called so; all, if none is."""
    return [each for each in field if not only or each.name in only]
