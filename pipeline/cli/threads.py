"""`pump threads`: the conversations that Redis knows of, open and kept."""

import json
from pathlib import Path

import click

from backends.redis.archive import Archive, Conversation
from pipeline.cli.options import load_shared, organism_option
from pipeline.cli.reporting import say
from pipeline.cli.shapes import iso_time, print_rows, short_time
from pipeline.stations import codec_of


@click.command()
@organism_option
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="The newest so many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def threads(*, file: Path, limit: int, as_json: bool) -> None:
    """List conversations: open ones, and the newest that have ended, newest last.

    Busy are messages that wait or run; hops are runs of handlers that have ended. A
    conversation is open, or was answered, failed, or closed with neither. `pump trace
    THREAD` shows one.
    """
    organism = load_shared(file)
    with Archive(organism.backend, codec_of(organism)) as archive:
        found = archive.conversations(limit)
    if as_json:
        click.echo(json.dumps([_facts(each) for each in found]))
    elif found:
        heads = ("Thread", "State", "Busy", "Hops", "Started", "Last")
        print_rows(heads, [_cells(each) for each in found], right="Busy Hops")
    else:
        say("no conversation is open or kept")


def state_of(conversation: Conversation) -> str:
    """Open, or how it ended: answered, failed, or closed without an answer."""
    if conversation.is_open:
        return "open"
    answers = [answer for answer in conversation.answers.values() if answer is not None]
    if any(answer.is_error for answer in answers):
        return "failed"
    return "answered" if answers else "closed"


def _cells(conversation: Conversation) -> tuple[str, ...]:
    return (
        conversation.id,
        state_of(conversation),
        str(conversation.in_flight),
        str(len(conversation.hops)),
        short_time(conversation.started_at),
        short_time(conversation.last_at),
    )


def _facts(conversation: Conversation) -> dict[str, object]:
    return {
        "thread": conversation.id,
        "state": state_of(conversation),
        "open": conversation.is_open,
        "busy": conversation.in_flight,
        "hops": len(conversation.hops),
        "threads": conversation.threads,
        "started": iso_time(conversation.started_at),
        "last": iso_time(conversation.last_at),
    }
