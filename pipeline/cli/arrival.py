"""Says when all that `pump up` has started is at work: each part has a lease then."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

import click

from backends.errors import BackendError
from backends.redis.survey import Survey
from pipeline.cli.fleet import node_in
from pipeline.cli.parts import Part
from pipeline.cli.reporting import counted
from pipeline.organism import Organism
from pipeline.stations import codec_of

#: Seconds between two looks, and after which it is told once who is missing.
LOOK_S, LATE_S = 0.1, 30.0
#: The part that no node names.
PUMP = "pump"


class Arrival:
    """Who of *parts* has reported to the organism's Redis; made before they start.

    Args:
        parts: workers, and a pump; others report to nobody and are left out.
    """

    def __init__(self, organism: Organism, parts: Sequence[Part]) -> None:
        self._organism = organism
        self._nodes = {node: part.name for part in parts if (node := node_in(part.command))}
        self._missing = {*self._nodes.values(), PUMP}
        self._survey = Survey(organism.backend, codec_of(organism))
        #: Pumps of others in the same Redis.
        self._others, _ = self._leases()
        self._is_over = Event()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Look for them while the block runs, in a thread."""
        # Left to itself in the end: Redis may take seconds not to answer.
        Thread(target=self._run, name="arrival", daemon=True).start()
        try:
            yield
        finally:
            self._is_over.set()

    def _run(self) -> None:
        late_at = time.monotonic() + LATE_S
        with self._survey:
            while not self._is_over.wait(LOOK_S):
                self._look()
                if not self._missing:
                    self._say(f"is up: {counted(len(self._nodes), 'worker')} and a pump")
                    return
                if time.monotonic() > late_at:
                    late_at = float("inf")
                    self._say(f"is not up yet: nothing heard of {', '.join(sorted(self._missing))}")

    def _look(self) -> None:
        pumps, nodes = self._leases()
        self._missing -= {self._nodes.get(node, "") for node in nodes}
        if pumps - self._others:
            self._missing.discard(PUMP)

    def _leases(self) -> tuple[set[str], set[str]]:
        """Ids of pumps, nodes of workers; nobody while Redis does not answer."""
        try:
            pumps, workers = self._survey.pumps_and_workers()
        except BackendError:
            return set(), set()
        return {each.id for each in pumps}, {each.node for each in workers}

    def _say(self, text: str) -> None:
        if not self._is_over.is_set():
            click.echo(f"{self._organism.name} {text}")
