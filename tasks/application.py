"""The Celery application of one organism."""

import os
from pathlib import Path

from celery import Celery
from kombu.entity import Exchange, Queue

import celeryconfig
from pipeline.errors import ConfigError
from pipeline.organism import Organism
from pipeline.organism_file import load_organism
from tasks.broker import BrokerWatch, broker_settings
from tasks.handler_task import register_handlers
from tasks.metrics import show_metrics
from tasks.names import VARIABLE
from tasks.pulse import show_pulse
from tasks.worker_hooks import supervise


def create_app(organism: Organism) -> Celery:
    """The application that publishes *organism*'s handler tasks, and can run them."""
    settings = organism.celery
    app = Celery(organism.name, set_as_current=False)
    app.config_from_object(celeryconfig)
    app.conf.update(broker_settings(organism))
    app.conf.update(
        task_default_queue=settings.queue,
        task_queues=[Queue(settings.queue, Exchange(settings.queue), routing_key=settings.queue)],
        worker_concurrency=organism.process_pool.workers,
        worker_max_tasks_per_child=organism.process_pool.max_tasks_per_child or None,
        worker_max_memory_per_child=settings.max_memory_mb and settings.max_memory_mb * 1024,
    )
    register_handlers(app, organism)
    # For our own consumer, which Celery makes; a worker that is supervised asks before it works.
    app.broker_watch = BrokerWatch(app, organism)
    app.admit = lambda _pause: True
    return app


def app_from_environment() -> Celery:
    """The application of the organism that `$ORGANISM` names; its workers are supervised.

    Raises:
        ConfigError: with everything that keeps it from running.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise ConfigError(f"set ${VARIABLE} to the path of organism.yaml")
    organism = load_organism(Path(named))
    if organism.backend.backend_type != "redis":
        raise ConfigError(
            f"{named}: backend.type is {organism.backend.backend_type}; workers need redis"
        )
    app = create_app(organism)
    app.set_current()
    supervise(app, organism, show_metrics(app, organism))
    show_pulse(app, organism)
    return app
