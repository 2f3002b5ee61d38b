"""Whom a worker's main process says a dead process has taken with it."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from pipeline.organism_file import load_organism
from tasks.identity import worker_notes
from tests.integration.conftest import WriteOrganism
from tests.integration.supervisors import record, supervisor_of


def died_while_running(dispatch_id: str) -> int:
    """A process that has ended, and has said so before, as those of the pool do."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    notes = worker_notes()
    notes._writer = process.pid
    notes._write(1, dispatch_id)
    notes._writer = 0
    return process.pid


def test_a_process_that_had_begun_nothing_has_killed_nobody(write: WriteOrganism) -> None:
    """It died with a batch before the first run: each runs alone then, and counts from there."""
    supervisor = supervisor_of(load_organism(write(celery={"max_attempts": 1})))
    ledger = supervisor._ledger
    record(supervisor, "one", "two")
    (batch,) = ledger.publishable(9, 9, {"work": 2})
    for held in (batch.ids, "one"):
        ledger.claim(f"{supervisor._worker}/{died_while_running('')}", held)
        supervisor._tick()
        assert not ledger.claims_of(supervisor._worker)
        if held == batch.ids:
            assert (ledger.deaths("one"), ledger.deaths("two")) == (0, 0)
            alone = [each.ids for each in ledger.publishable(9, 9, {"work": 2})]
            assert alone == ["one", "two"]
    assert ledger.missing(["one", "two"]) == ["one"], "dead, and not yet begun"
    supervisor.stop()


def test_nobody_is_told_that_what_has_ended_failed(write: WriteOrganism) -> None:
    """Its outcome was handed in before its process died, which had not begun the next."""
    supervisor = supervisor_of(load_organism(write()))
    told: list[dict[str, Any]] = []
    supervisor._events = SimpleNamespace(send=told.append)  # type: ignore[assignment]
    ledger = supervisor._ledger
    for ran, held in (("ended", "next"), ("running", "running")):
        record(supervisor, held)
        pid = died_while_running(ran)
        ledger.claim(f"{supervisor._worker}/{pid}", held)
        supervisor._tick()
        assert not ledger.claims_of(supervisor._worker)
    assert [event["uuid"] for event in told] == ["running"]
    assert (ledger.deaths("next"), ledger.deaths("running")) == (0, 1)
    supervisor.stop()
