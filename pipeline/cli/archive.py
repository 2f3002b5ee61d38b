"""Commands that look into what Redis keeps: `pump threads`, `pump trace`, `pump dead-letters`."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from backends import chains
from backends.mailbox import Hop, Letter
from backends.redis.archive import Archive
from backends.redis.backend import RedisBackend
from pipeline.cli.options import load, organism_option
from pipeline.errors import ConfigError
from pipeline.organism import Organism
from pipeline.roster import name_of
from pipeline.stations import codec_of, stations_of
from pipeline.thread_registry import ThreadRegistry

OK, FAILED = 0, 1

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, an object a line."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most to list."
)


@contextmanager
def _archive(organism: Organism) -> Iterator[Archive]:
    config = organism.backend
    if config.backend_type != "redis":
        raise ConfigError(
            f"backend.type is {config.backend_type}: only with redis is anything kept to look at"
        )
    codec = codec_of(organism)
    stations_of(organism, codec)
    archive = Archive(config, codec)
    try:
        yield archive
    finally:
        archive.close()


@click.command()
@organism_option
@limit_option
@as_json_option
def threads(*, file: Path, limit: int, as_json: bool) -> int:
    """List conversations: those still open, then those that have ended, newest first."""
    with _archive(load(file)) as archive:
        found = archive.conversations(limit)
    rows = [
        {
            "thread": each.id,
            "state": "open" if each.is_open else "ended",
            "since": _moment(each.since),
            "hops": each.hops,
            "threads": each.threads,
        }
        for each in found
    ]
    _print(rows, as_json=as_json, nothing="no conversations")
    return OK


@click.command()
@click.argument("thread")
@organism_option
@as_json_option
def trace(*, thread: str, file: Path, as_json: bool) -> int:
    """Show a conversation as a tree: who was called, where it ran, for how long.

    THREAD is the id of a conversation, or of any thread in it.
    """
    organism = load(file)
    with _archive(organism) as archive:
        hops = archive.hops(thread) or archive.hops(_conversation_of(organism, thread))
    if not hops:
        raise click.ClickException(f"no hops of thread {thread!r} are kept")
    if as_json:
        for hop in hops:
            click.echo(json.dumps(_hop_row(hop)))
    else:
        Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(_tree(thread, hops))
    return OK


def _conversation_of(organism: Organism, thread: str) -> str:
    """The conversation that a thread below it belongs to; the thread itself if none."""
    backend = RedisBackend(
        url=organism.backend.redis_url,
        prefix=organism.backend.redis_prefix,
        ttl=organism.backend.redis_ttl,
    )
    try:
        chain = ThreadRegistry(backend).lookup(thread)
    finally:
        backend.close()
    return (chains.conversation_of(chain) if chain else None) or thread


def _hop_row(hop: Hop) -> dict[str, Any]:
    return {
        "listener": name_of(hop.to),
        "from": hop.from_id,
        "payload": hop.payload_type,
        "place": hop.place,
        "started": _moment(hop.started_at),
        "duration_s": round(hop.duration_s, 6),
        "attempt": hop.attempt,
        "error": hop.error,
        "thread": hop.thread_id,
        "chain": hop.chain,
        "id": hop.id,
    }


def _tree(thread: str, hops: list[Hop]) -> Tree:
    """Each call below the hop that made it; an answer is one more hop of its caller."""
    root = Tree(Text(thread, style="bold"), guide_style="dim")
    places: dict[str, Tree] = {}
    answers: dict[str, list[Hop]] = defaultdict(list)
    for hop in hops:
        answers[hop.chain].append(hop)
    for chain in sorted(answers, key=lambda each: (each.count("."), answers[each][0].started_at)):
        above = next((places[each] for each in chains.callers(chain) if each in places), root)
        first, *later = answers[chain]
        places[chain] = above.add(_label(first))
        for hop in later:
            places[chain].add(_label(hop))
    return root


def _label(hop: Hop) -> Text:
    label = Text.assemble(
        (name_of(hop.to), "cyan"),
        f" ← {hop.from_id}  {hop.payload_type.rpartition('.')[2]}  ",
        (f"{hop.duration_s * 1000:.1f} ms", "bold"),
        (f"  {hop.place}", "dim"),
    )
    if hop.attempt > 1:
        label.append(f"  attempt {hop.attempt}", "yellow")
    if hop.error:
        label.append(f"  {hop.error}", "red")
    return label


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List, show, replay or drop messages that were set aside after their last attempt."""


@dead_letters.command(name="list")
@organism_option
@limit_option
@as_json_option
def list_letters(*, file: Path, limit: int, as_json: bool) -> int:
    """List dead letters, newest first."""
    with _archive(load(file)) as archive:
        found = archive.letters(limit)
    rows = [
        {
            "id": letter_id,
            "listener": name_of(letter.envelope.to),
            "code": letter.code,
            "died": _moment(letter.died_at),
            "thread": letter.envelope.conversation,
        }
        for letter_id, letter in found
    ]
    _print(rows, as_json=as_json, nothing="no dead letters")
    return OK


@dead_letters.command(name="show")
@click.argument("letter_id", metavar="ID")
@organism_option
@click.option("--payload", "with_payload", is_flag=True, help="Show what it says as well.")
@as_json_option
def show_letter(*, letter_id: str, file: Path, with_payload: bool, as_json: bool) -> int:
    """Show one dead letter: where it was going, why it died, whom it killed."""
    organism = load(file)
    with _archive(organism) as archive:
        row = _letter_row(letter_id, _found(archive.letter(letter_id), letter_id))
        if with_payload:
            letter = _found(archive.letter(letter_id), letter_id)
            codec = codec_of(organism)
            stations_of(organism, codec)
            row["payload"] = repr(codec.decode(letter.envelope.payload))
    if as_json:
        click.echo(json.dumps(row))
    else:
        for name, value in row.items():
            for each in value if isinstance(value, list) else [value]:
                click.echo(f"{name:<9} {each}")
    return OK


@dead_letters.command(name="replay")
@click.argument("letter_id", metavar="ID")
@organism_option
def replay_letter(*, letter_id: str, file: Path) -> int:
    """Let a dead letter run again, in its own conversation."""
    with _archive(load(file)) as archive:
        letter = _found(archive.letter(letter_id), letter_id)
        if not archive.replay(letter_id):
            raise _gone(letter_id)
    click.echo(f"replayed {letter_id} in thread {letter.envelope.conversation}")
    return OK


@dead_letters.command(name="drop")
@click.argument("letter_id", metavar="ID")
@organism_option
def drop_letter(*, letter_id: str, file: Path) -> int:
    """Forget a dead letter."""
    with _archive(load(file)) as archive:
        if not archive.drop(letter_id):
            raise _gone(letter_id)
    click.echo(f"dropped {letter_id}")
    return OK


def _found(letter: Letter | None, letter_id: str) -> Letter:
    if letter is None:
        raise _gone(letter_id)
    return letter


def _gone(letter_id: str) -> click.ClickException:
    return click.ClickException(f"no dead letter {letter_id!r}; see pump dead-letters list")


def _letter_row(letter_id: str, letter: Letter) -> dict[str, Any]:
    envelope = letter.envelope
    return {
        "id": letter_id,
        "listener": name_of(envelope.to),
        "from": envelope.from_id,
        "thread": envelope.conversation,
        "chain": envelope.chain,
        "attempt": envelope.attempt,
        "code": letter.code,
        "reason": letter.reason,
        "died": _moment(letter.died_at),
        "deaths": [f"{_moment(moment)} {process}" for process, moment in letter.history],
    }


def _print(rows: list[dict[str, Any]], *, as_json: bool, nothing: str) -> None:
    """Rows as a table on a terminal, else as lines."""
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif not rows:
        click.echo(nothing, err=True)
    elif sys.stdout.isatty():
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in rows[0]:
            table.add_column(name.capitalize(), overflow="fold")
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row.values()))
        Console(highlight=False).print(table)
    else:
        for row in rows:
            click.echo("\t".join(str(value) for value in row.values()))


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
