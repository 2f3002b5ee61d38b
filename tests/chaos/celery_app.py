"""Celery alone, set up as its documentation says for work that must not be lost."""

import os
from typing import Any
from uuid import uuid4

import redis
from celery import Celery

from tests.chaos.handlers import RUNS_KEY

#: Seconds until the broker gives to another what a worker has not acknowledged.
VISIBILITY_S = 10

app = Celery(
    "alone",
    broker=os.environ.get("CHAOS_URL", "redis://"),
    backend=os.environ.get("CHAOS_URL", "redis://"),
)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=2,
    broker_transport_options={"visibility_timeout": VISIBILITY_S},
    result_backend_transport_options={"visibility_timeout": VISIBILITY_S},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_default_queue="cpu",
)

_counters: dict[int, redis.Redis] = {}


def _told(number: int) -> dict[str, Any]:
    return {"number": number, "run": uuid4().hex}


@app.task(name="crunch")  # type: ignore[untyped-decorator]
def crunch(number: int) -> dict[str, Any]:
    """As the handler of that name."""
    pid = os.getpid()
    if pid not in _counters:
        _counters[pid] = redis.Redis.from_url(os.environ["CHAOS_REDIS"])
    _counters[pid].incr(f"{RUNS_KEY}crunch")
    return _told(number * 2)


@app.task(name="echo")  # type: ignore[untyped-decorator]
def echo(number: int) -> dict[str, Any]:
    """As the handler of that name, which runs on pumps there."""
    return _told(number)


@app.task(name="total")  # type: ignore[untyped-decorator]
def total(members: list[dict[str, Any]]) -> dict[str, Any]:
    """What the members of a chord come to."""
    return _told(sum(each["number"] for each in members))
