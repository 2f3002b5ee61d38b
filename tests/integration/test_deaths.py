"""Whom a worker's main process says a dead process has taken with it."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from backends.mailbox import Envelope
from backends.redis.records import Dispatch
from pipeline.organism_file import load_organism
from tasks.application import create_app
from tasks.identity import worker_notes
from tasks.supervision import Supervisor
from tests.integration.conftest import WriteOrganism


def died_while_running(dispatch_id: str) -> int:
    """A process that has ended, and has said so before, as those of the pool do."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    notes = worker_notes()
    notes._writer = process.pid
    notes._write(1, dispatch_id)
    notes._writer = 0
    return process.pid


def test_nobody_is_told_that_what_has_ended_failed(write: WriteOrganism) -> None:
    """Its outcome was handed in before its process died, which had not begun the next."""
    organism = load_organism(write())
    supervisor = Supervisor(create_app(organism), organism, "node")
    told: list[dict[str, Any]] = []
    supervisor._events = SimpleNamespace(send=told.append)  # type: ignore[assignment]
    supervisor._pool = SimpleNamespace(info={"processes": [os.getpid()]}, _pool=[])
    ledger = supervisor._ledger
    for ran, held in (("ended", "next"), ("running", "running")):
        envelope = Envelope(held, "c", "s", "", "t", "work", "me", b"")
        ledger.record(held, "work", Dispatch(envelope, "f"), "")
        pid = died_while_running(ran)
        ledger.claim(f"{supervisor._worker}/{pid}", held)
        supervisor._tick()
        assert not ledger.claims_of(supervisor._worker)
    assert [event["uuid"] for event in told] == ["running"]
    assert (ledger.deaths("next"), ledger.deaths("running")) == (0, 1)
    supervisor.stop()
