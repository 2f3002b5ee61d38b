"""`pump trace`: one conversation as a tree of the handlers that ran."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import click

from backends.errors import BackendError
from backends.mailbox import Letter
from backends.redis.archive import Conversation
from backends.redis.survey import Survey
from pipeline.cli.causes import causes_of
from pipeline.cli.faults import Fault
from pipeline.cli.options import load_shared, organism_option
from pipeline.cli.reporting import counted, printable, say
from pipeline.cli.shapes import duration, iso_time, local_time, print_rows
from pipeline.cli.threads import state_of
from pipeline.cli.trees import Branch, Line, lines_of, tree_of
from pipeline.messages import ErrorCode
from pipeline.roster import name_of
from pipeline.stations import codec_of

#: Dead letters that are looked through for those of the conversation.
LETTERS = 1000


@click.command()
@click.argument("thread", metavar="THREAD")
@organism_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    metavar="N",
    help="Show so many hops; --json has all of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def trace(*, file: Path, thread: str, limit: int, as_json: bool) -> None:
    """Show a conversation as a tree: who was called, with what, where, and for how long.

    THREAD is the id of a conversation, or of any thread in it.

    A line is one run of a handler, below the run that called it. A listener that gets an
    answer runs again: that is a line of its own. What killed its workers has one line, for
    the last of them; what is still under way has none.
    """
    organism = load_shared(file)
    with Survey(organism.backend, codec_of(organism)) as survey:
        found = survey.conversation(thread)
        if found is None:
            found = survey.conversation(survey.conversation_of(thread) or thread)
        if found is None:
            text = f"nothing of thread {thread!r} is kept; `pump threads` lists conversations"
            raise BackendError(text)
        letters = [
            (letter_id, letter)
            for letter_id, letter in survey.letters(LETTERS)
            if letter is not None and letter.envelope.conversation == found.id
        ]
        causes = causes_of(found, survey)
    branches = tree_of(found.hops)
    if as_json:
        click.echo(json.dumps(_facts(found, branches, letters, causes)))
        return
    _print(found, branches, limit)
    for text in dict.fromkeys(map(_why, causes.values())):
        if text:
            click.echo(printable(text))
    for letter_id, letter in letters:
        told = f"{letter_id}: {name_of(letter.envelope.to)}, {letter.code}"
        click.echo(f"dead letter {printable(told)}, {local_time(letter.died_at)}")


def _print(found: Conversation, branches: list[Branch], limit: int) -> None:
    flying = f", {counted(found.in_flight, 'message')} in flight" if found.is_open else ""
    say(f"{printable(found.id)}: {state_of(found)}{flying}, {counted(len(found.hops), 'hop')}")
    rows: list[tuple[str, ...]] = [_cells(line) for line in islice(lines_of(branches), limit)]
    heads: tuple[str, ...] = ("Listener", "From", "Payload", "Where", "Took", "Try", "Error")
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    print_rows(heads, rows, right="Took Try")
    if len(found.hops) > limit:
        say(f"… {counted(len(found.hops) - limit, 'more hop')}; --limit shows more")


def _cells(line: Line) -> tuple[str, ...]:
    hop = line.hop
    return (
        f"{line.guide}{name_of(hop.to)}",
        hop.from_id,
        hop.payload_type.rpartition(".")[2],
        hop.place,
        # Nobody knows when what killed its worker began.
        "-" if hop.error == ErrorCode.WORKER_LOST else duration(hop.duration_s),
        str(hop.attempt),
        hop.error,
    )


def _facts(
    found: Conversation,
    branches: list[Branch],
    letters: list[tuple[str, Letter]],
    causes: dict[str, Fault],
) -> dict[str, Any]:
    return {
        "thread": found.id,
        "state": state_of(found),
        "busy": found.in_flight,
        "hops": [_hop(line, causes.get(line.hop.id)) for line in lines_of(branches)],
        "dead_letters": [letter_id for letter_id, _ in letters],
    }


def _why(fault: Fault) -> str:
    """What was raised and where, without its words; empty where nothing was."""
    if not fault.raised:
        return ""
    return f"{fault.listener} raised {fault.raised}" + (f" at {fault.where}" if fault.where else "")


def _hop(line: Line, fault: Fault | None) -> dict[str, Any]:
    hop = line.hop
    return {
        "depth": line.depth,
        "to": name_of(hop.to),
        "from": hop.from_id,
        "payload": hop.payload_type,
        "thread": hop.thread_id,
        "where": hop.place,
        "started": iso_time(hop.started_at),
        "seconds": round(hop.duration_s, 6),
        "attempt": hop.attempt,
        "error": hop.error or None,
        "raised": (fault.raised if fault else "") or None,
        "at": (fault.where if fault else "") or None,
    }
