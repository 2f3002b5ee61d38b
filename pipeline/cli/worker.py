"""`pump worker`: Celery's own worker with the right pool, queue and name, and nothing else."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from pipeline.cli.fleet import check_fleet, worker_command, worker_environment
from pipeline.cli.metrics import check_address, metrics_options
from pipeline.cli.options import clear_heartbeat, heartbeat_option, load, organism_argument
from pipeline.metrics.endpoint import Address
from pipeline.tracing import check_environment

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command()
@organism_argument
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Handlers at once, each in its process. Default: process_pool.workers.",
)
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="What is logged.",
)
@heartbeat_option
@metrics_options
def worker(
    *,
    file: Path,
    concurrency: int | None,
    loglevel: str,
    heartbeat_file: Path | None,
    metrics: Address | None,
) -> NoReturn:
    """Run the organism's cpu_bound handlers, as one Celery worker of its fleet.

    The organism must have backend.type: redis. Every mistake in it is printed, then the
    exit code is 2 and no worker starts. Otherwise this process becomes Celery's own
    worker: the same as ORGANISM=FILE celery -A tasks worker -Q QUEUE, with a host name
    that no other worker has.

    SIGTERM or Ctrl-C takes nothing more and finishes what runs, for at most
    celery.grace_s; what has not begun goes to another worker.
    """
    organism = load(file)
    check_fleet(organism, file)
    check_environment()
    clear_heartbeat(heartbeat_file)
    check_address(metrics)
    command = worker_command(organism, concurrency=concurrency, loglevel=loglevel)
    sys.stdout.flush()
    sys.stderr.flush()
    # The same process: whoever supervises this command supervises the worker.
    environment = worker_environment(file, heartbeat_file, metrics)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
