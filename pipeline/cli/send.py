"""`pump send`: one message to one listener, and its answer."""

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from backends.chains import new_thread_id
from backends.redis.archive import Archive
from pipeline.cli.fleet import needs_workers
from pipeline.cli.jsonl import BadLineError, PayloadReader, answer_line
from pipeline.cli.logs import configure_logging
from pipeline.cli.options import find_file, load
from pipeline.cli.reporting import one_line, printable_lines, say
from pipeline.cli.run import payload_reader
from pipeline.errors import HandlerError, NoAnswerError
from pipeline.organism import Organism
from pipeline.pump import StreamPump
from pipeline.stations import codec_of
from pipeline.tracing import exporting_traces

OK, FAILED = 0, 1
#: What stands for stdin.
STANDARD = "-"
#: Arguments, with the file.
WORDS = 3


class Message(NamedTuple):
    """What is sent."""

    to: str
    payload: Any
    thread_id: str | None
    message_id: str | None


class Sent(NamedTuple):
    """What became of the message."""

    #: None where a message id decides.
    thread: str | None
    seconds: float
    answer: Any = None
    error: str = ""
    code: str = ""
    traceback: str = ""


@click.command()
@click.argument("words", nargs=-1, metavar="[FILE] LISTENER JSON")
@click.option("--file", "option", type=Path, metavar="FILE", help="The same as FILE.")
@click.option("--wait/--no-wait", default=True, help="Wait for the answer. Default: wait.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up waiting; the conversation goes on.",
)
@click.option("--thread", "thread_id", metavar="THREAD", help="Go on with this conversation.")
@click.option(
    "--message-id", metavar="ID", help="Deduplicates: a second message with one id is not sent."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of a handler's error.")
def send(*, words: tuple[str, ...], option: Path | None, as_json: bool, **asked: Any) -> int:
    """Send one message to LISTENER and print its answer.

    JSON is the payload, as one object; - reads it from stdin. Over Redis the message
    goes to the pumps that run, and this command takes no work from them; --no-wait
    prints the thread's id as soon as the message is kept. Over memory or Manager the
    organism runs here for as long as this one message takes.

    The exit code is 0 when the answer came, 1 when the handler failed, nobody answered or
    the time was up, 2 for wrong usage or configuration.
    """
    file, listener, text = _arguments(words, option)
    configure_logging(is_verbose=False, hides_failures=True)
    organism = load(file)
    click.get_current_context().with_resource(exporting_traces(organism.name))
    is_shared = organism.backend.backend_type == "redis"
    if not is_shared and not asked["wait"]:
        raise click.UsageError("--no-wait needs backend.type: redis; here the message ends with us")
    payload = _payload(payload_reader(organism, listener, "LISTENER"), text)
    message = Message(listener, payload, asked["thread_id"], asked["message_id"])
    if not asked["wait"]:
        thread = asyncio.run(_inject(organism, message))
        click.echo(json.dumps({"thread": thread}) if as_json else thread)
        return OK
    if is_shared:
        _note_absence(organism)
    sent = asyncio.run(_request(organism, message, asked["timeout_s"]))
    _show(sent, as_json=as_json, is_verbose=asked["verbose"])
    return FAILED if sent.error else OK


def _arguments(words: tuple[str, ...], option: Path | None) -> tuple[Path, str, str]:
    """File, listener and payload; click itself would take the only two for the first two."""
    if len(words) not in (WORDS - 1, WORDS):
        raise click.UsageError(f"expected [FILE] LISTENER JSON, got {len(words)} arguments")
    *files, listener, text = words
    return find_file(Path(files[0]) if files else option), listener, text


def _payload(reader: PayloadReader, text: str) -> Any:
    data = sys.stdin.buffer.read() if text == STANDARD else text.encode()
    try:
        return reader.read(data)
    except BadLineError as exc:
        raise click.BadParameter(str(exc), param_hint="JSON") from exc


def _note_absence(organism: Organism) -> None:
    """Say so if the message will have to wait for somebody to run it."""
    with Archive(organism.backend, codec_of(organism)) as archive:
        if not archive.pumps():
            say("no pump runs; waiting for one (pump run)")
        elif needs_workers(organism) and not archive.workers():
            say("no worker runs; cpu_bound handlers wait for one (pump worker)")


async def _inject(organism: Organism, message: Message) -> str:
    async with StreamPump(organism, is_client=True) as pump:
        return await pump.inject(
            message.to,
            message.payload,
            thread_id=message.thread_id,
            message_id=message.message_id,
        )


async def _request(organism: Organism, message: Message, timeout_s: float | None) -> Sent:
    # A message sent before has its thread already.
    thread = message.thread_id or (None if message.message_id else new_thread_id())
    # Over Redis others run it; this process takes none of their work.
    is_client = organism.backend.backend_type == "redis"
    async with StreamPump(organism, is_client=is_client) as pump:
        started = time.monotonic()
        answer, error, code, frames = None, "", "", ""
        try:
            answer = await pump.request(
                message.to,
                message.payload,
                timeout_s=timeout_s,
                thread_id=thread,
                message_id=message.message_id,
            )
        except HandlerError as exc:
            error, code, frames = f"{exc.listener}: {exc}", exc.code, exc.traceback
        except NoAnswerError as exc:
            error, code = str(exc), "no_answer"
        except TimeoutError:
            goes_on = "; the conversation goes on" if is_client else ""
            error, code = f"no answer within {timeout_s:g} s{goes_on}", "timeout"
        return Sent(thread, time.monotonic() - started, answer, error, code, frames)


def _show(sent: Sent, *, as_json: bool, is_verbose: bool) -> None:
    if as_json:
        click.echo(_as_json(sent))
        return
    if sent.error:
        say(f"{sent.code}: {one_line(sent.error)}")
        if is_verbose and sent.traceback:
            say(printable_lines(sent.traceback))
    else:
        line = answer_line(sent.answer).decode().rstrip()
        if sys.stdout.isatty() and len(line) > shutil.get_terminal_size().columns:
            line = msgspec.json.format(line)
        click.echo(line)
    if sent.thread and sys.stderr is not None and sys.stderr.isatty():
        say(f"thread {sent.thread}, {sent.seconds:.2f} s")


def _as_json(sent: Sent) -> str:
    facts: dict[str, Any] = {"thread": sent.thread, "seconds": round(sent.seconds, 3)}
    if sent.error:
        facts["error"] = {"code": sent.code, "message": one_line(sent.error)}
    else:
        facts["type"] = type(sent.answer).__name__
        facts["answer"] = msgspec.Raw(answer_line(sent.answer).strip())
    return msgspec.json.encode(facts).decode()
