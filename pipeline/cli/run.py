"""`pump run`: an organism at work, on lines of JSON or until it is interrupted."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import click

from pipeline.cli.endpoints import (
    STANDARD,
    Sink,
    Source,
    are_same_file,
    opened_input,
    opened_output,
)
from pipeline.cli.interrupts import INTERRUPTED, Interrupts
from pipeline.cli.jsonl import PayloadReader
from pipeline.cli.logs import configure_logging
from pipeline.cli.metrics import metrics_options, shown, taken
from pipeline.cli.options import clear_heartbeat, heartbeat_option, load, organism_argument
from pipeline.cli.reporting import Report, counted, say
from pipeline.cli.stream import Stream, max_line_bytes
from pipeline.errors import UnknownListenerError
from pipeline.heartbeat import loop_heartbeat
from pipeline.metrics.endpoint import Address, MetricsEndpoint
from pipeline.organism import Organism
from pipeline.pump import StreamPump
from pipeline.roster import Roster
from pipeline.tracing import exporting_traces

OK, FAILED = 0, 1

#: Listeners that an error tells of.
MAX_NAMES_LISTED = 10


@click.command()
@organism_argument
@click.option("--to", metavar="LISTENER", help="The listener that gets every line of the input.")
@click.option("--input", "source", metavar="IN", help="Lines of JSON; - is stdin, the default.")
@click.option("--output", "sink", metavar="OUT", help="The answers; - is stdout, the default.")
@click.option("--json", "as_json", is_flag=True, help="Report errors and the sum as JSON objects.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens; show handlers' tracebacks.")
@heartbeat_option
@metrics_options
def run(  # noqa: PLR0913 - one argument an option
    *,
    file: Path,
    to: str | None,
    source: str | None,
    sink: str | None,
    as_json: bool,
    verbose: bool,
    heartbeat_file: Path | None,
    metrics: Address | None,
) -> int:
    """Run an organism: on lines of JSON, or until it is interrupted.

    With --to, each line of the input is one payload of LISTENER, as a JSON object;
    blank lines are skipped. Each answer is a line of the output, in the order of the
    lines it answers. A line that is no such payload, whose handler fails or that nobody
    answers has no line there: its number and the reason go to stderr, the others run.
    At most backend.max_threads lines are in flight, so memory does not grow with the
    input. What handlers print goes to stderr.

    Ctrl-C or SIGTERM takes no more lines and finishes those in flight; a second one
    stops at once.

    The exit code is 0 when every line was answered, 1 when one was not, 2 for wrong usage
    or configuration, 130 after an interrupt. Without --to an interrupt is how it ends: 0.
    """
    if to is None and (source is not None or sink is not None or as_json):
        raise click.UsageError("--input, --output and --json need --to")
    configure_logging(is_verbose=verbose, hides_failures=to is not None)
    organism = load(file)
    click.get_current_context().with_resource(exporting_traces(organism.name))
    clear_heartbeat(heartbeat_file)
    shows = _Shows(heartbeat_file, taken(metrics))
    if to is None:
        return _serve(organism, shows)
    report = Report(as_json=as_json, is_verbose=verbose)
    ends = (source or STANDARD, sink or STANDARD)
    return _stream(organism, to, ends, report=report, shows=shows)


class _Shows(NamedTuple):
    """What a process shows of itself while it runs."""

    heartbeat_file: Path | None
    metrics: MetricsEndpoint | None


def _serve(organism: Organism, shows: _Shows) -> int:
    """Run until interrupted."""
    interrupts = asyncio.run(_in_pump(StreamPump(organism), _Service(organism), shows))
    return OK if interrupts == 1 else INTERRUPTED


def _stream(
    organism: Organism,
    to: str,
    ends: tuple[str, str],
    *,
    report: Report,
    shows: _Shows,
) -> int:
    """Run every line of *ends*' first through the listener *to*, its answer to the second."""
    reader = payload_reader(organism, to, "--to")
    with _endpoints(*ends, max_line_bytes(organism)) as (lines, answers):
        pump = StreamPump(organism)
        is_shown = not (lines.is_terminal or answers.is_terminal)
        with report.progress(lines.size, is_shown=is_shown):
            job = Stream(pump, to, reader=reader, source=lines, sink=answers, report=report)
            if lines.is_terminal:
                report.note("Type a JSON object a line; Ctrl-D ends.")
            interrupts = asyncio.run(_in_pump(pump, job, shows))
    report.finish(is_interrupted=bool(interrupts))
    if interrupts:
        return INTERRUPTED
    return FAILED if report.tally.errors else OK


def payload_reader(organism: Organism, to: str, hint: str) -> PayloadReader:
    """Reads the payloads of the listener *to*; *hint* is what named it.

    Raises:
        BadParameter: there is no such listener, or its payload can't be read from JSON.
    """
    try:
        named = Roster(organism.listeners).named(to)
    except UnknownListenerError as exc:
        names = sorted({listener.name for listener in organism.listeners})
        more = ", ..." if len(names) > MAX_NAMES_LISTED else ""
        known = ", ".join(names[:MAX_NAMES_LISTED]) + more
        text = str(exc) if "did you mean" in str(exc) else f"{exc}; there are: {known}"
        raise click.BadParameter(text, param_hint=hint) from exc
    # Those that share a name may take different classes; what all take is the narrowest.
    payload_class = max((each.payload_class for _, each in named), key=lambda cls: len(cls.mro()))
    try:
        return PayloadReader(payload_class)
    except (TypeError, NameError) as exc:
        text = f"{payload_class.__qualname__} can't be read from JSON: {exc}"
        raise click.BadParameter(text, param_hint=hint) from exc


@contextmanager
def _endpoints(source: str, sink: str, line_bytes: int) -> Iterator[tuple[Source, Sink]]:
    """Both ends of a job, opened; what can't be opened is wrong usage."""
    with ExitStack() as stack:
        try:
            input_fd = stack.enter_context(opened_input(source))
            lines = Source(input_fd, max_line_bytes=line_bytes)
        except OSError as exc:
            raise click.BadParameter(f"{source}: {exc.strerror}", param_hint="--input") from exc
        stack.callback(lines.close)
        try:
            output_fd = stack.enter_context(opened_output(sink))
            answers = Sink(output_fd, is_ours=sink != STANDARD)
        except OSError as exc:
            raise click.BadParameter(f"{sink}: {exc.strerror}", param_hint="--output") from exc
        if are_same_file(input_fd, output_fd):
            raise click.UsageError("--output is the same file as --input")
        yield lines, answers


class _Work(Protocol):
    async def run(self) -> None: ...

    def drain(self) -> None: ...


class _Service:
    """Does nothing by itself: the pump takes what comes."""

    def __init__(self, organism: Organism) -> None:
        self._organism = organism
        self._interrupted = asyncio.Event()

    async def run(self) -> None:
        """Say that the pump runs, and wait for the end."""
        listeners = counted(len(self._organism.listeners), "listener")
        say(f"{self._organism.name} runs with {listeners}; Ctrl-C ends it")
        await self._interrupted.wait()

    def drain(self) -> None:
        """Let `run` return."""
        self._interrupted.set()


async def _in_pump(pump: StreamPump, work: _Work, shows: _Shows) -> int:
    """Start *pump*, run *work*, shut down; how many times that was interrupted.

    The first interrupt drains, or gives up starting; the second cancels everything.
    """
    task = asyncio.current_task()
    if task is None:  # pragma: no cover - a coroutine runs in a task
        raise RuntimeError("no task")
    has_begun = False

    def drain() -> None:
        if has_begun:
            say("finishing what is in flight; Ctrl-C again stops at once")
            work.drain()
        else:
            task.cancel()

    with Interrupts(drain, task.cancel) as interrupts:
        try:
            async with (
                shown(pump, shows.metrics),
                loop_heartbeat(shows.heartbeat_file) as begin_to_beat,
                pump,
            ):
                has_begun = True
                begin_to_beat()
                await work.run()
        except asyncio.CancelledError:
            if not interrupts.count:
                raise
    return interrupts.count
