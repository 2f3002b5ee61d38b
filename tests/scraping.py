"""A process's metrics, as Prometheus reads them."""

import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.fleets import Command, started
from tests.servers import free_port
from tests.waiting import eventually


@dataclass(frozen=True)
class Scrape:
    """One answer."""

    text: str
    took_s: float
    rows: list[tuple[str, dict[str, str], float]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """Every name that has a value."""
        return {name for name, _, _ in self.rows}

    def value(self, name: str, **labels: str) -> float:
        """The sum of the rows that have these labels; `name` without our prefix.

        Raises:
            KeyError: there is none.
        """
        found = [
            value
            for each, own, value in self.rows
            if each == f"celery_pump_{name}" and labels.items() <= own.items()
        ]
        if not found:
            raise KeyError(name, labels)
        return sum(found)


def scrape(port: int, path: str = "/metrics") -> Scrape:
    """Ask once.

    Raises:
        OSError: nobody answers.
    """
    asked_at = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text = answer.read().decode()
    took_s = time.monotonic() - asked_at
    rows = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    return Scrape(text, took_s, rows)


@dataclass
class Scraped:
    """A pump or a worker that shows its metrics."""

    command: Command
    port: int

    def scrape(self) -> Scrape:
        return scrape(self.port)

    def shows(self, name: str, value: float, **labels: str) -> bool:
        """True once a metric has this value."""
        return eventually(lambda: self.scrape().value(name, **labels) == value, timeout_s=20.0)


#: What a process says once it runs.
_READY = {"run": "Ctrl-C ends it", "worker": " ready."}


@contextmanager
def scraped(
    folder: Path, *kinds: str, variables: Mapping[str, str] | None = None
) -> Iterator[list[Scraped]]:
    """One process for each of *kinds* (`run` or `worker`), ready.

    Args:
        variables: `$WHO` for each kind.
    """
    with ExitStack() as stack:
        processes = []
        for kind in kinds:
            port = free_port()
            words = (kind, "organism.yaml", "--metrics-port", str(port))
            who: dict[str, Any] = {"WHO": variables[kind]} if variables else {}
            processes.append(Scraped(stack.enter_context(started(folder, *words, **who)), port))
        for kind, each in zip(kinds, processes, strict=True):
            assert each.command.says(_READY[kind]), each.command.log
        yield processes
