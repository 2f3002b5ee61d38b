"""What commands that start workers share: what an organism must have, and a worker's command."""

import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from pipeline.errors import ConfigError
from pipeline.imports import hidden_modules
from pipeline.metrics.endpoint import Address
from pipeline.organism import Organism
from tasks.names import (
    EXECUTOR,
    HEARTBEAT_VARIABLE,
    METRICS_HOST_VARIABLE,
    METRICS_PORT_VARIABLE,
    VARIABLE,
)

#: Celery's advice against running as root is about pickle, which no worker of ours accepts.
_NO_ADVICE = "ignore:You're running the worker with superuser privileges"
#: What Celery's `-n` would expand, or cut in two.
_NOT_IN_A_NODE = re.compile(r"[^A-Za-z0-9_.-]+")


def check_fleet(organism: Organism, file: Path) -> None:
    """Refuse an organism that can have no workers.

    Raises:
        ConfigError: with every reason.
    """
    problems = hidden_modules([Path.cwd()])
    kind = organism.backend.backend_type
    if kind != "redis":
        problems.append(
            f"{file}: backend.type is {kind}; workers need redis, at redis_url or ${{REDIS_URL}}"
        )
    elif not needs_workers(organism):
        problems.append(f"{file}: no listener is cpu_bound, so workers have nothing to run")
    if problems:
        raise ConfigError(*problems)


def needs_workers(organism: Organism) -> bool:
    """True when a listener's handler runs on workers."""
    return any(organism.executor_of(listener) == EXECUTOR for listener in organism.listeners)


def worker_command(organism: Organism, *, concurrency: int | None, loglevel: str) -> list[str]:
    """The command of one worker, by Celery's own; its node name is nobody else's."""
    # celery-exporter tells workers apart by what is behind the @.
    name = _NOT_IN_A_NODE.sub("-", organism.name)
    node = f"{name}@{socket.gethostname()}-{uuid4().hex[:8]}"
    command = [sys.executable, "-P", "-W", _NO_ADVICE, "-m", "celery", "--quiet", "-A", "tasks"]
    command += ["worker", "-Q", organism.celery.queue, "-P", "prefork", "-n", node, "-l", loglevel]
    # Workers have nothing to tell one another: what they share is in the ledger.
    command += ["--without-mingle", "--without-gossip"]
    return command if concurrency is None else [*command, "-c", str(concurrency)]


def node_in(command: Sequence[str]) -> str:
    """The node name in a command of `worker_command`; empty in any other.

    >>> node_in(["celery", "worker", "-n", "name@host"]), node_in(["pump", "run"])
    ('name@host', '')
    """
    return command[command.index("-n") + 1] if "-n" in command else ""


def worker_environment(
    file: Path, heartbeat_file: Path | None = None, metrics: Address | None = None
) -> dict[str, str]:
    """Our environment, with what Celery's command can't be told otherwise."""
    more = {VARIABLE: str(file.absolute())}
    if heartbeat_file is not None:
        more[HEARTBEAT_VARIABLE] = str(heartbeat_file.absolute())
    if metrics is not None:
        more[METRICS_HOST_VARIABLE] = metrics.host
        more[METRICS_PORT_VARIABLE] = str(metrics.port)
    return {**os.environ, **more}
