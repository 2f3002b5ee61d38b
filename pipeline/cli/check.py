"""`pump check`: is this organism sound, and what is in it?"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.options import load, organism_argument
from pipeline.cli.redis_check import Findings, check_redis
from pipeline.organism import Listener, Organism


@dataclass(frozen=True, slots=True)
class Row:
    """One listener as the check shows it."""

    name: str
    kind: str
    payload: str
    runs: str
    timeout_s: float | None
    retries: int


@click.command()
@organism_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(*, file: Path, as_json: bool) -> None:
    """Check an organism and list its listeners.

    Every mistake is printed, with its line; then the exit code is 2.

    With backend.type: redis the server is asked as well: whether it is new enough, keeps
    what it holds, evicts nothing and has room. What should be otherwise is a note; a Redis
    Cluster, or a server too old, is a mistake. One that does not answer is a note.
    """
    organism = load(file)
    findings = check_redis(organism, file)
    rows = [_row(listener, organism) for listener in organism.listeners]
    if as_json:
        click.echo(json.dumps(_summary(organism, rows, findings)))
    elif sys.stdout.isatty():
        _print_table(organism, rows, findings)
    else:
        for row in rows:
            click.echo("\t".join(_cells(row)))
    for note in findings.notes:
        click.echo(f"note: {note}", err=True)


def _row(listener: Listener, organism: Organism) -> Row:
    return Row(
        name=listener.name,
        kind="agent" if listener.agent else "handler",
        payload=f"{listener.payload_class.__module__}.{listener.payload_class.__qualname__}",
        runs=organism.executor_of(listener),
        timeout_s=listener.timeout_s,
        retries=listener.retries,
    )


def _cells(row: Row) -> tuple[str, ...]:
    timeout = "-" if row.timeout_s is None else f"{row.timeout_s:g} s"
    return (row.name, row.kind, row.payload, row.runs, timeout, str(row.retries))


def _summary(organism: Organism, rows: list[Row], findings: Findings) -> dict[str, object]:
    return {
        "organism": organism.name,
        "file": str(organism.path),
        "backend": organism.backend.backend_type,
        "listeners": [asdict(row) for row in rows],
        "servers": findings.facts(),
        "notes": findings.notes,
    }


def _print_table(organism: Organism, rows: list[Row], findings: Findings) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Listener", style="cyan", overflow="fold")
    table.add_column("Kind")
    table.add_column("Payload", overflow="fold")
    table.add_column("Runs in", no_wrap=True)
    table.add_column("Timeout", justify="right", no_wrap=True)
    table.add_column("Retries", justify="right")
    for row in rows:
        cells = _cells(row)
        # On a terminal the class is enough; its module would crowd the rest out.
        short = (*cells[:2], row.payload.rpartition(".")[2], *cells[3:])
        table.add_row(*(Text(cell) for cell in short))
    count = f"{len(rows)} listener{'' if len(rows) == 1 else 's'}"
    console = Console(highlight=False)
    console.print(Text(organism.name, style="bold"), f"on {organism.backend.backend_type}, {count}")
    for server in findings.servers:
        console.print(Text(f"{server.where}, version {server.version}"))
    console.print()
    console.print(table)
    console.print()
    console.print(Text("No mistakes found.", style="green"))
