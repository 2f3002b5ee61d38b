"""`pump send`: one message, and its answer."""

import asyncio
from pathlib import Path
from typing import Any

import click

from pipeline.cli.jsonl import BadLineError, PayloadReader, answer_line
from pipeline.cli.logs import configure_logging
from pipeline.cli.options import load, organism_argument
from pipeline.cli.run import payload_reader
from pipeline.errors import HandlerError, NoAnswerError
from pipeline.organism import Organism
from pipeline.pump import StreamPump

OK, FAILED = 0, 1


@click.command()
@organism_argument
@click.argument("to", metavar="LISTENER")
@click.argument("payload", metavar="JSON")
@click.option("--no-wait", is_flag=True, help="Print the thread's id instead of the answer.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds to wait.")
@click.option("--thread", "thread_id", help="Go on with this conversation.")
@click.option("--message-id", help="Deduplicates: a second message with one id is not sent.")
def send(  # noqa: PLR0913 - one argument an option
    *,
    file: Path,
    to: str,
    payload: str,
    no_wait: bool,
    timeout: float | None,
    thread_id: str | None,
    message_id: str | None,
) -> int:
    """Send one message to LISTENER and print the answer, as JSON.

    JSON is an object with the fields of the listener's payload. Over Redis, the pumps and
    workers that run take it from there; this command runs no handlers itself.
    """
    configure_logging(is_verbose=False)
    organism = load(file)
    if no_wait and organism.backend.backend_type != "redis":
        raise click.UsageError("--no-wait needs backend.type: redis; else the message ends with us")
    message = _read(payload_reader(organism, to, "LISTENER"), payload)
    options = {"thread_id": thread_id, "message_id": message_id}
    try:
        sending = _send(organism, to, message, options, waits=not no_wait, timeout_s=timeout)
        answer = asyncio.run(sending)
    except (HandlerError, NoAnswerError) as exc:
        raise click.ClickException(str(exc)) from exc
    except TimeoutError as exc:
        raise click.ClickException(
            f"no answer within {timeout:g} s; is a pump running? The message is kept"
        ) from exc
    click.echo(answer)
    return OK


def _read(reader: PayloadReader, text: str) -> Any:
    try:
        return reader.read(text.encode())
    except BadLineError as exc:
        raise click.BadParameter(str(exc), param_hint="JSON") from exc


async def _send(  # noqa: PLR0913 - what the command was told
    organism: Organism,
    to: str,
    payload: Any,
    options: dict[str, Any],
    *,
    waits: bool,
    timeout_s: float | None,
) -> str:
    async with StreamPump(organism, is_client=organism.backend.backend_type == "redis") as pump:
        if not waits:
            return await pump.inject(to, payload, **options)
        answer = await pump.request(to, payload, timeout_s=timeout_s, **options)
        return answer_line(answer).decode().rstrip("\n")
