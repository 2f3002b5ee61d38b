"""Kills and stops pumps, workers and their processes, and notes when what they held goes on."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from tests.chaos.pumps import PumpProcess, Said
from tests.chaos.report import Report
from tests.fleet import Worker, start_worker

PUMPS, WORKERS = 2, 2
#: SIGKILL to a pump, to a worker's main process, to a process of its pool.
KILLS = ("pump", "worker", "child")
#: SIGTERM to a pump, to a worker.
STOPS = ("stopped pump", "stopped worker")


@dataclass
class _Held:
    since: float
    owner: str
    is_held: Callable[[str], bool]
    #: Seconds of it in which a pump ran.
    attended_s: float = 0.0


class _Asked(NamedTuple):
    since: float
    ids: set[str]


class Striker:
    """Has so many pumps and workers run, whatever it does to them.

    Args:
        client: of the organism's Redis.
        chance: what is done to whom.
        deeds: of `KILLS` and `STOPS`, what may be done.
    """

    def __init__(  # noqa: PLR0913 - what it strikes, and how
        self,
        organism: Path,
        client: Any,
        prefix: str,
        *,
        environment: dict[str, str],
        chance: random.Random,
        deeds: tuple[str, ...],
        report: Report,
    ) -> None:
        self._organism, self._environment = organism, environment
        self._client, self._prefix = client, prefix
        self._chance, self._deeds = chance, deeds
        self._report = report
        #: What the pumps say.
        self.said: SimpleQueue[Said] = SimpleQueue()
        self.pumps = [self._new_pump() for _ in range(PUMPS)]
        self.workers = [self._new_worker() for _ in range(WORKERS)]
        self._leaving: list[Worker] = []
        self._held: list[_Held] = []
        self._watched_at = time.monotonic()
        self._asked: list[_Asked] = []

    def all_pumps_run(self) -> bool:
        """Each has said its id."""
        return all(pump.id for pump in self.pumps)

    def strike(self) -> None:
        """Do something to somebody; nothing to who has not quite begun."""
        deed = self._chance.choice(self._deeds)
        kind = deed.removeprefix("stopped ")
        index = self._chance.randrange(PUMPS if kind == "pump" else WORKERS)
        if kind == "pump":
            is_done = self._strike_pump(index, is_killed=deed == kind)
        elif deed == "child":
            is_done = self._kill_child(self.workers[index])
        else:
            is_done = self._strike_worker(index, is_killed=deed == kind)
        if is_done:
            self._report.deeds[deed] += 1

    def watch(self) -> None:
        """Note who holds nothing any more."""
        now = time.monotonic()
        passed_s, self._watched_at = now - self._watched_at, now
        is_attended = any(pump.id for pump in self.pumps)
        for held in tuple(self._held):
            held.attended_s += passed_s if is_attended else 0.0
            if not held.is_held(held.owner):
                self._held.remove(held)
                self._note(held)

    def answered(self, request: str) -> None:
        """A request has its answer."""
        for asked in tuple(self._asked):
            asked.ids.discard(request)
            if not asked.ids:
                self._asked.remove(asked)
                self._report.answers_s.append(time.monotonic() - asked.since)

    def finish(self, within_s: float) -> None:
        """Wait until nobody dead holds anything; what is still held counts as it is."""
        deadline = time.monotonic() + within_s
        while self._held and time.monotonic() < deadline:
            self.watch()
            time.sleep(0.05)
        for held in self._held:
            self._note(held)

    def _note(self, held: _Held) -> None:
        self._report.recoveries_s.append(time.monotonic() - held.since)
        self._report.attended_s.append(held.attended_s)

    def close(self) -> None:
        """End every process."""
        for pump in self.pumps:
            pump.end()
        for worker in (*self.workers, *self._leaving):
            if worker.process.poll() is None:
                worker.process.terminate()
        deadline = time.monotonic() + 20
        for worker in (*self.workers, *self._leaving):
            while worker.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            worker.kill()

    def _new_pump(self) -> PumpProcess:
        return PumpProcess(self._organism, self.said, self._environment)

    def _new_worker(self) -> Worker:
        return start_worker(self._organism, environment=self._environment)

    def _strike_pump(self, index: int, *, is_killed: bool) -> bool:
        victim = self.pumps[index]
        if not victim.id:
            return False
        since = time.monotonic()
        victim.signal(signal.SIGKILL if is_killed else signal.SIGTERM)
        victim.end()
        self._held.append(_Held(since, victim.id, self._holds_entries))
        if victim.open:
            self._asked.append(_Asked(since, set(victim.open)))
        self.pumps[index] = heir = self._new_pump()
        for order in victim.open.values():
            heir.ask(order)
        return True

    def _strike_worker(self, index: int, *, is_killed: bool) -> bool:
        victim = self.workers[index]
        owner = self._worker_id(victim.pid)
        if not owner:
            return False
        since = time.monotonic()
        if is_killed:
            victim.kill()
        else:
            # It finishes what it runs beside its heir.
            victim.process.terminate()
            self._leaving.append(victim)
        self._held.append(_Held(since, owner, self._holds_claims))
        self.workers[index] = self._new_worker()
        return True

    def _kill_child(self, worker: Worker) -> bool:
        owner, children = self._worker_id(worker.pid), worker.children()
        if not owner or not children:
            return False
        child = self._chance.choice(sorted(children))
        os.kill(child, signal.SIGKILL)
        self._held.append(_Held(time.monotonic(), f"{owner}/{child}", self._holds_claims))
        return True

    def _worker_id(self, pid: int) -> str:
        for member in self._client.zrange(f"{self._prefix}i:alive", 0, -1):
            kind, _, name = str(member.decode()).partition(":")
            if kind == "w" and self._client.hget(f"{self._prefix}w:{name}", "pid") == b"%d" % pid:
                return name
        return ""

    def _holds_entries(self, pump: str) -> bool:
        inbox = f"{self._prefix}s:inbox"
        return bool(self._client.xpending_range(inbox, "pump", "-", "+", 1, consumername=pump))

    def _holds_claims(self, owner: str) -> bool:
        owners = {each.decode() for each in self._client.hvals(f"{self._prefix}l:claims")}
        return any(each == owner or each.startswith(f"{owner}/") for each in owners)
