"""A worker's main process without its pool, and dispatches for it to look after."""

import os
from types import SimpleNamespace

from backends.mailbox import Envelope
from backends.redis.records import Dispatch
from pipeline.organism import Organism
from tasks.application import create_app
from tasks.supervision import Supervisor


def supervisor_of(organism: Organism) -> Supervisor:
    """One whose pool is this process alone."""
    supervisor = Supervisor(create_app(organism), organism, "node")
    supervisor._pool = SimpleNamespace(info={"processes": [os.getpid()]}, _pool=[])
    return supervisor


def record(supervisor: Supervisor, *names: str) -> None:
    for name in names:
        dispatch = Dispatch(Envelope(name, "c", "s", "", "t", "work", "me", b""), "f")
        supervisor._ledger.record(name, "work", dispatch, "")
