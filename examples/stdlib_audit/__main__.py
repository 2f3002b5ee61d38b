"""Audits a tree of Python code: `python examples/stdlib_audit`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
from audit.page import page
from audit.payloads import Report, Tree
from audit.tables import tables
from audit.tree import modules_of, root_of
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backends import BackendError
from pipeline import ConfigError, PipelineError, StreamPump
from pipeline.events import Event, HandlerFailed, HandlerFinished

HERE = Path(__file__).parent
INTERRUPTED = 130


async def audit(organism: Path, tree: Tree, progress: Progress) -> Report | None:
    """Run the organism on *tree*; None if Ctrl-C came first. Handlers at work then finish."""
    task = progress.add_task("analysing", total=len(modules_of(root_of(tree))))

    def watch(event: Event) -> None:
        if isinstance(event, HandlerFinished | HandlerFailed) and event.listener == "analyzer":
            progress.advance(task)

    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    async with StreamPump.from_file(organism) as pump:
        pump.subscribe(watch)
        request = asyncio.create_task(pump.request("auditor", tree))
        waiting = asyncio.create_task(interrupted.wait())
        await asyncio.wait({request, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if request.done():
            report: Report = request.result()
            return report
        request.cancel()
        return None


def write(report: Report, out: Path, seconds: float) -> None:
    """Put `report.json` and `report.html` into *out*."""
    content = {"report": report, "timings": {"seconds": round(seconds, 2)}}
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    (out / "report.html").write_text(page(report, seconds), encoding="utf-8")


def _readable(root: str) -> str:
    try:
        os.scandir(root).close()
    except OSError as exc:
        reason = f"{root} is not a folder that can be read: {exc.strerror}"
        raise argparse.ArgumentTypeError(reason) from exc
    return root


def _arguments() -> argparse.Namespace:
    """What was asked for; what can't be done exits with 2 before any work."""
    parser = argparse.ArgumentParser(prog="stdlib_audit", description=__doc__)
    parser.add_argument(
        "--root", type=_readable, help="folder to audit; default: the standard library"
    )
    parser.add_argument("--out", type=Path, default=Path("audit-report"), help="where reports go")
    parser.add_argument("--file", type=Path, default=HERE / "organism.yaml", help="the organism")
    arguments = parser.parse_args()
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        parser.error(f"argument --out: {exc.filename}: {exc.strerror}")
    return arguments


def main() -> int:
    """Parse, audit, show; 0 when done, 1 when the audit failed, 2 when asked wrongly."""
    arguments = _arguments()
    # Whoever interrupts an audit knows that it drops what waits.
    logging.getLogger("pipeline").setLevel(logging.ERROR)
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            report = asyncio.run(audit(arguments.file, Tree(arguments.root or ""), progress))
    except (PipelineError, BackendError) as exc:
        print(f"stdlib_audit: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, ConfigError) else 1
    if report is None:
        print("stdlib_audit: interrupted", file=sys.stderr)
        return INTERRUPTED
    seconds = time.monotonic() - started
    write(report, arguments.out, seconds)
    console.print(tables(report))
    console.print(f"\n{seconds:.1f} s; reports in {arguments.out}/", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
