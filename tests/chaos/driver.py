"""Feeds two pumps while somebody strikes, and counts what came of every message."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from threading import Event, Thread
from typing import Any

import redis

from backends.redis.connection import connect
from pipeline.organism_file import load_organism
from tests.chaos.handlers import CRUNCHES, EXPECTED, RUNS_KEY
from tests.chaos.pumps import Order, Said
from tests.chaos.report import Report
from tests.chaos.striker import KILLS, Striker
from tests.chaos.traces import Traces
from tests.waiting import eventually

KINDS = tuple(EXPECTED)
#: Seconds that pumps may take to start.
_START_S = 60.0
#: Requests one pump may have open.
OPEN_PER_PUMP = 150

Beside = Callable[[Event], None]


class Chaos:
    """One run.

    Args:
        quiet_s: seconds without an answer after which it ends.
        seed: of the deeds and of the order of messages.
        pause_s: shortest and longest time between two deeds; None does nothing.
        counter: URL of the Redis where handlers count their runs.
        deeds: what may be done; see `striker`.
        direct_url: the organism's Redis, for whoever counts; its own unless that is a proxy's.
    """

    striker = Striker

    def __init__(  # noqa: PLR0913 - what happens in it
        self,
        organism: Path,
        *,
        seed: int,
        counter: str,
        pause_s: tuple[float, float] | None = (1.0, 3.0),
        deeds: tuple[str, ...] = KILLS,
        direct_url: str | None = None,
        quiet_s: float = float("inf"),
    ) -> None:
        self._quiet_s, self._heard_at = quiet_s, float("inf")
        self._organism = load_organism(organism)
        backend = self._organism.backend
        self._prefix = backend.redis_prefix
        self._url = direct_url or backend.redis_url
        self._client: Any = connect(self._url)
        self._counter: Any = redis.Redis.from_url(counter)
        self._orders_chance = random.Random(seed)  # noqa: S311 - the same for the same seed
        self._deeds_chance = random.Random(seed)  # noqa: S311
        self._pause_s = pause_s
        self.report = Report()
        self._striker = self.striker(
            organism,
            self._client,
            self._prefix,
            environment={"CHAOS_REDIS": counter, "CHAOS_URL": self._url},
            chance=self._deeds_chance,
            deeds=deeds,
            report=self.report,
        )
        #: Of each request: its kind and number, and the run whose answer its caller got.
        self._orders: dict[str, Order] = {}
        self._answers: dict[str, str] = {}
        #: When each request was first made.
        self._asked_at: dict[str, float] = {}
        #: When each answer came (`time.monotonic`), and the kind of its request.
        self.heard: list[tuple[float, str]] = []

    def run(self, messages: int, *, limit_s: float, beside: Beside | None = None) -> Report:
        """Send so many messages once every pump runs; ends with the last answer, or at *limit_s*.

        Args:
            beside: runs in a thread from the first answer on; its event is set when the last
                has come. It is waited for.
        """
        if not eventually(self._striker.all_pumps_run, timeout_s=_START_S):
            raise RuntimeError("\n".join(("not every pump has started", *self.logs())))
        started = time.monotonic()
        orders = (
            {"id": f"m{n}", "to": self._orders_chance.choice(KINDS), "number": n}
            for n in range(messages)
        )
        is_over = Event()
        helper = Thread(target=beside, args=(is_over,)) if beside else None
        next_deed = float("inf")
        while self.report.completed < messages and not self._is_over(started + limit_s):
            self._feed(orders)
            self._collect()
            self._striker.watch()
            if self._answers and next_deed == float("inf"):
                next_deed = time.monotonic()
                if helper is not None:
                    helper.start()
            if self._pause_s and time.monotonic() > next_deed:
                self._striker.strike()
                next_deed = time.monotonic() + self._deeds_chance.uniform(*self._pause_s)
        is_over.set()
        if helper is not None and helper.ident is not None:
            helper.join()
        self.report.duration_s = time.monotonic() - started
        self._striker.finish(self._organism.celery.lease_s + 15)
        self._count()
        return self.report

    def _is_over(self, deadline: float) -> bool:
        now = time.monotonic()
        return now > deadline or now > self._heard_at + self._quiet_s

    def close(self) -> None:
        """End every process."""
        self._striker.close()
        self._client.close()
        self._counter.close()

    def logs(self) -> list[str]:
        """What each process that still runs has written."""
        logs = [worker.log for worker in self._striker.workers]
        return logs + [pump.log for pump in self._striker.pumps]

    def _feed(self, orders: Iterator[Order]) -> None:
        for pump in self._striker.pumps:
            while pump.id and len(pump.open) < OPEN_PER_PUMP:
                order = next(orders, None)
                if order is None:
                    return
                self._orders[order["id"]] = order
                self._asked_at[order["id"]] = time.monotonic()
                self.report.accepted += 1
                pump.ask(order)

    def _collect(self) -> None:
        try:
            said = self._striker.said.get(timeout=0.02)
            while True:
                if "error" in said.line:
                    self._ask_again(said)
                elif "sent" in said.line:
                    said.pump.open.get(said.line["sent"], {})["sent"] = True
                elif "id" in said.line:
                    said.pump.open.pop(said.line["id"], None)
                    self._take(said.line)
                said = self._striker.said.get_nowait()
        except Empty:
            return

    def _ask_again(self, said: Said) -> None:
        """As a caller does who is told that nothing will come of it."""
        order = said.pump.open.pop(said.line["id"], None)
        if order is not None:
            self.report.told += 1
            order.pop("sent", None)
            said.pump.ask(order)

    def _take(self, answer: dict[str, Any]) -> None:
        request, run = answer["id"], answer["run"]
        order = self._orders[request]
        self.report.wrong += answer["number"] != EXPECTED[order["to"]](order["number"])
        # A pump may have said it just before it was killed; then it is asked again.
        self.report.doubled += self._answers.setdefault(request, run) != run
        self.report.completed = len(self._answers)
        self._heard_at = time.monotonic()
        self.heard.append((self._heard_at, order["to"]))
        if request in self._asked_at:
            self.report.waits_s.append(self._heard_at - self._asked_at.pop(request))
        for pump in self._striker.pumps:
            pump.open.pop(request, None)
        self._striker.answered(request)

    def _count(self) -> None:
        kinds = Counter(order["to"] for order in self._orders.values())
        self.report.expected_runs = sum(CRUNCHES[kind] * times for kind, times in kinds.items())
        self.report.runs = int(self._counter.get(RUNS_KEY + "crunch") or 0)
        counts = self._client.hgetall(f"{self._prefix}l:counts")
        self.report.ledger = {name.decode(): int(value) for name, value in counts.items()}
        self.report.redis_mb = self._client.info("memory")["used_memory_peak"] // 1024**2
        traces = Traces(self._organism, self._client, self._url)
        for request, order in self._orders.items():
            traces.check(request, order["to"], self._answers.get(request), self.report)
        traces.close()
