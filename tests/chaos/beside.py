"""The same load under the same kills: over pumps, and with Celery alone."""

import sys
from typing import Any

from celery.result import AsyncResult

from tests.chaos.celery_app import VISIBILITY_S, app
from tests.chaos.driver import Chaos
from tests.chaos.handlers import CRUNCHES, RUNS_KEY
from tests.chaos.pumps import PumpProcess
from tests.chaos.scene import scene
from tests.chaos.striker import Striker
from tests.fleet import Worker, start_worker
from tests.servers import running_redis

#: Seconds without any answer after which what is still open counts as lost: kombu looks for what
#: nobody has acknowledged once in about 100 s.
QUIET_S = 240.0


class CeleryStriker(Striker):
    """Strikes callers and workers of Celery alone."""

    def _new_pump(self) -> PumpProcess:
        module = "tests.chaos.celery_caller"
        return PumpProcess(self._organism, self.said, self._environment, module=module)

    def _new_worker(self) -> Worker:
        return start_worker(
            self._organism, environment=self._environment, app="tests.chaos.celery_app"
        )

    def _worker_id(self, pid: int) -> str:
        ready = (each.pid == pid and f"{each.node} ready" in each.log for each in self.workers)
        return str(pid) if any(ready) else ""

    def _holds_entries(self, pump: str) -> bool:
        return False

    def _holds_claims(self, owner: str) -> bool:
        return False


class CeleryChaos(Chaos):
    """A run of Celery alone."""

    striker = CeleryStriker

    def _count(self) -> None:
        orders = self._orders.values()
        self.report.expected_runs = sum(CRUNCHES[order["to"]] for order in orders)
        self.report.runs = int(self._counter.get(RUNS_KEY + "crunch") or 0)
        for request, run in self._answers.items():
            kept: Any = AsyncResult(request, app=app).result
            self.report.doubled += not isinstance(kept, dict) or kept["run"] != run
        # Nobody knows what the dead held.
        self.report.recoveries_s.clear()


def beside(kind: type[Chaos], messages: int, seed: int, *, limit_s: float = 1200.0) -> Chaos:
    """One of the two, closed."""
    with running_redis() as server, running_redis() as counter, scene(server.url) as organism:
        app.conf.update(broker_url=server.url, result_backend=server.url)
        chaos = kind(organism, seed=seed, counter=counter.url, quiet_s=QUIET_S)
        try:
            chaos.run(messages, limit_s=limit_s)
            return chaos
        finally:
            chaos.close()


def main(messages: int = 5000, *seeds: int) -> int:
    """`python -m tests.chaos beside [messages] [seed …]`: 0 if ours lost and doubled nothing."""
    is_good = True
    for seed in seeds or (1,):
        for name, kind in (("ours", Chaos), ("celery alone", CeleryChaos)):
            report = beside(kind, messages, seed).report
            sys.stdout.write(f"{name}, seed {seed}: {report}; {report.waits}\n")
            sys.stdout.flush()
            is_good &= report.is_whole or kind is not Chaos
    sys.stdout.write(f"visibility timeout {VISIBILITY_S} s\n")
    return 0 if is_good else 1
