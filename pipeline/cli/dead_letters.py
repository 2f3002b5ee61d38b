"""`pump dead-letters`: messages set aside after their last attempt, and what to do with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from backends.errors import BackendError, CodecError, LetterNotFoundError
from backends.mailbox import Letter
from backends.redis.archive import Archive
from pipeline.cli.jsonl import answer_line
from pipeline.cli.options import load_shared, organism_option
from pipeline.cli.reporting import one_line, printable, say
from pipeline.cli.shapes import iso_time, local_time, print_rows
from pipeline.deaths import parts_of
from pipeline.organism import Organism
from pipeline.roster import name_of
from pipeline.stations import codec_of, stations_of

OK, FAILED = 0, 1


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List, show, replay or drop messages that were given up.

    A message becomes a dead letter when its handler has killed celery.max_attempts
    workers, when it can't be delivered or read, or when no worker fits.
    """


@dead_letters.command(name="list")
@organism_option
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    metavar="N",
    help="The newest so many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_letters(*, file: Path, limit: int, as_json: bool) -> None:
    """List dead letters, the newest last."""
    organism = load_shared(file)
    with Archive(organism.backend, codec_of(organism)) as archive:
        letters = archive.letters(limit)
    if as_json:
        click.echo(json.dumps([_facts(*each) for each in letters]))
    elif letters:
        rows = [_cells(*each) for each in letters]
        print_rows(("Letter", "Listener", "Code", "Died"), rows, whole="Letter")
    else:
        say("no dead letters")


@dead_letters.command()
@click.argument("letter", metavar="LETTER")
@organism_option
@click.option("--payload", "with_payload", is_flag=True, help="Show its payload as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(*, file: Path, letter: str, with_payload: bool, as_json: bool) -> None:
    """Show one dead letter: what it was, why it died, whom it killed.

    Its payload may hold what not everybody should read, so that is told with --payload only.
    """
    organism = load_shared(file)
    codec = codec_of(organism)
    with Archive(organism.backend, codec) as archive:
        found = archive.letter(letter)
    facts = _facts(letter, found) | {
        "reason": found.reason,
        "history": [
            {"process": where, "ending": ending or None, "died": iso_time(moment)}
            for process, moment in found.history
            for where, ending in (parts_of(process),)
        ],
    }
    if with_payload:
        stations_of(organism, codec)
        facts["payload"] = msgspec.Raw(_payload(codec.decode(found.envelope.payload)))
    if as_json:
        click.echo(msgspec.json.encode(facts).decode())
    else:
        _print(facts, found)


@dead_letters.command()
@click.argument("letters", metavar="LETTER...", nargs=-1, required=True)
@organism_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(*, file: Path, letters: tuple[str, ...], as_json: bool) -> int:
    """Let dead letters run again, each in its own conversation, as a first attempt.

    Whoever waited for the answer was told of the error long ago; `pump trace THREAD` shows
    how it goes this time. A letter that is gone is reported and the others run; then the
    exit code is 1.
    """
    return _each(load_shared(file), letters, Archive.replay, done="replayed", as_json=as_json)


@dead_letters.command()
@click.argument("letters", metavar="LETTER...", nargs=-1, required=True)
@organism_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def drop(*, file: Path, letters: tuple[str, ...], as_json: bool) -> int:
    """Delete dead letters for good.

    One that is gone is reported and the others are deleted; then the exit code is 1.
    """
    return _each(load_shared(file), letters, Archive.drop, done="dropped", as_json=as_json)


def _each(
    organism: Organism,
    letters: tuple[str, ...],
    action: Callable[[Archive, str], str | None],
    *,
    done: str,
    as_json: bool,
) -> int:
    """Do something with every letter; 1 if one of them could not be found or read."""
    failures: dict[str, str] = {}
    threads: dict[str, str | None] = {}
    with Archive(organism.backend, codec_of(organism)) as archive:
        for letter in dict.fromkeys(letters):
            try:
                threads[letter] = action(archive, letter)
            except (LetterNotFoundError, CodecError) as exc:
                failures[letter] = str(exc)
    if as_json:
        click.echo(json.dumps({done: threads, "failed": failures}))
        return FAILED if failures else OK
    for letter, thread in threads.items():
        click.echo(f"{done} {letter}" + (f", thread {thread}" if thread else ""))
    for text in failures.values():
        say(f"pump: {text}")
    return FAILED if failures else OK


def _payload(payload: Any) -> bytes:
    try:
        return answer_line(payload).strip()
    except Exception as exc:
        raise BackendError(f"the payload, {type(payload).__name__}, has no form in JSON") from exc


def _cells(letter_id: str, letter: Letter | None) -> tuple[str, ...]:
    if letter is None:
        return letter_id, "-", "unreadable", "-"
    to = name_of(letter.envelope.to)
    return letter_id, to, letter.code, local_time(letter.died_at)


def _facts(letter_id: str, letter: Letter | None) -> dict[str, Any]:
    if letter is None:
        return {"letter": letter_id, "code": "unreadable"}
    envelope = letter.envelope
    return {
        "letter": letter_id,
        "listener": name_of(envelope.to),
        "from": envelope.from_id,
        "conversation": envelope.conversation,
        "thread": envelope.thread_id,
        "code": letter.code,
        "died": iso_time(letter.died_at),
        "attempt": envelope.attempt,
        "bytes": len(envelope.payload),
        "deaths": len(letter.history),
    }


def _print(facts: dict[str, Any], letter: Letter) -> None:
    shown = {name: facts[name] for name in ("letter", "listener", "from", "conversation", "thread")}
    shown |= {"code": letter.code, "reason": one_line(letter.reason)}
    shown |= {"died": local_time(letter.died_at), "attempt": facts["attempt"]}
    for name, value in shown.items():
        click.echo(f"{name:<13}{printable(str(value))}")
    for process, moment in letter.history:
        click.echo(f"{'killed':<13}{printable(process)} at {local_time(moment)}")
    if "payload" in facts:
        text = msgspec.json.format(bytes(facts["payload"])).decode()
        click.echo(f"payload\n{text}")
    else:
        click.echo(f"{'payload':<13}{facts['bytes']:,} bytes; --payload shows it")
