"""`pump worker`: Celery's own worker, with what the organism asks for."""

import os
import socket
import sys
from pathlib import Path
from uuid import uuid4

import click

from pipeline.cli.options import load, organism_argument
from pipeline.errors import ConfigError
from pipeline.organism import Organism
from tasks.application import VARIABLE, create_app


@click.command()
@organism_argument
@click.option("--concurrency", type=click.IntRange(min=1), help="Processes of its pool.")
@click.option("--loglevel", default="INFO", show_default=True, help="What Celery logs.")
def worker(*, file: Path, concurrency: int | None, loglevel: str) -> None:
    """Run a worker for an organism's cpu_bound handlers.

    The same as `celery -A tasks worker` with $ORGANISM set, this organism's queue, a pool of
    processes, and a name of its own. It takes that process's place, so signals reach Celery:
    SIGTERM finishes what runs within celery.grace_s, and gives the rest back.
    """
    organism = load(file)
    check_worker(organism)
    sys.stdout.flush()
    os.environ[VARIABLE] = str(file.resolve())
    os.execv(sys.executable, worker_command(organism, concurrency, loglevel))  # noqa: S606 - ours


def check_worker(organism: Organism) -> None:
    """Refuse an organism that workers have no part in.

    Raises:
        ConfigError: its backend is not Redis, or it has no handler for a worker.
    """
    if organism.backend.backend_type != "redis":
        raise ConfigError(
            f"{organism.path}: backend.type is {organism.backend.backend_type}; workers need redis"
        )
    if not any(not name.startswith("celery.") for name in create_app(organism).tasks):
        raise ConfigError(f"{organism.path}: no listener is cpu_bound; a worker has nothing to run")


def worker_command(organism: Organism, concurrency: int | None, loglevel: str) -> list[str]:
    """Celery's command line for a worker of this organism."""
    # Monitors tell workers apart by what stands behind the @.
    node = f"{organism.name}@{socket.gethostname()}-{uuid4().hex[:6]}"
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "tasks", "worker"]
    # Workers have nothing to tell one another: what they share is in the ledger.
    alone = ["--without-mingle", "--without-gossip"]
    options = ["-Q", organism.celery.queue, "-n", node, "-P", "prefork", "-l", loglevel, *alone]
    count = [] if concurrency is None else ["-c", str(concurrency)]
    return [*command, *options, *count]
