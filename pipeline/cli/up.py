"""`pump up`: everything an organism needs, in one terminal, until Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.redis.connection import connect, describe, disconnect
from pipeline.cli.arrival import Arrival
from pipeline.cli.fleet import check_fleet, worker_command
from pipeline.cli.metrics import check_address, metrics_options
from pipeline.cli.options import load, organism_argument
from pipeline.cli.parts import COLOURS, Part, Told, end, wait_until
from pipeline.cli.ports import kept_port
from pipeline.cli.reporting import counted, say
from pipeline.cli.servers import RedisAtHand, redis_at_hand
from pipeline.metrics.endpoint import Address
from pipeline.organism import Organism
from tasks.names import METRICS_PORT_VARIABLE, VARIABLE

OK, FAILED = 0, 1

#: Seconds a part may take to end by itself, beyond the workers' grace period.
PATIENCE_S = 5.0
#: The same where nothing is worth waiting for: what they work on ends with the private Redis.
IMPATIENCE_S = 2.5
FLOWER_PORT = 5555
_PYTHON = (sys.executable, "-P", "-m")
#: Where the words behind `--` are kept in click's context.
COMMAND = "pipeline.cli.up.command"


class _BesideCommand(click.Command):
    """Leaves what is behind `--` alone; click would take its first word for FILE."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the command for later."""
        if "--" in args:
            position = args.index("--")
            args, ctx.meta[COMMAND] = args[:position], tuple(args[position + 1 :])
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What `--help` says may follow."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command(cls=_BesideCommand)
@organism_argument
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="How many.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes of each worker. Default: process_pool.workers, shared out.",
)
@metrics_options
@click.pass_context
def up(
    ctx: click.Context,
    *,
    file: Path,
    workers: int,
    concurrency: int | None,
    metrics: Address | None,
) -> int:
    """Run everything an organism needs: Redis, workers, a pump, and Flower if installed.

    Redis is the one $REDIS_URL names, else a private server: redis-server or
    valkey-server, else the one of celery-pump[embedded]. A private server listens on
    loopback behind a random password, keeps its data in memory, and all of it ends with
    this command. The organism finds it by redis_url: "${REDIS_URL}".

    One log shows every part behind its name, and a line tells when all of them work.
    Ctrl-C lets running handlers finish and ends all parts; a second one stops at once. When
    a part ends by itself, so do the others, and the exit code is 1; Flower alone may end
    without the rest. Flower listens on loopback and is read-only;
    $FLOWER_BASIC_AUTH=user:password puts it behind a password.

    --metrics-port is the pump's; it tells of the whole fleet.

    With -- COMMAND that runs in the pump's place, $REDIS_URL set, with the terminal to
    itself but for the workers' warnings. When it ends so does the rest, with its exit code.
    """
    command: tuple[str, ...] = ctx.meta.get(COMMAND, ())
    check_address(metrics)
    # Of all parts the pump alone has that port.
    os.environ.pop(METRICS_PORT_VARIABLE, None)
    told = Told()
    with ExitStack() as stack:
        stack.enter_context(told.listening())
        at_hand = stack.enter_context(redis_at_hand())
        os.environ["REDIS_URL"] = at_hand.url
        organism = load(file)
        check_fleet(organism, file)
        if organism.backend.redis_url != at_hand.url:
            say(f'{file}: backend.redis_url is not "${{REDIS_URL}}", so the Redis it names is used')
        os.environ |= {VARIABLE: str(file.absolute()), "PYTHONUNBUFFERED": "1"}
        share = concurrency or max(1, organism.process_pool.workers // workers)
        parts = list(_workers(organism, workers, share, "warning" if command else "info"))
        if not command:
            parts.append(_pump(file, metrics))
            if find_spec("flower") is not None:
                parts.append(_flower(stack.enter_context(kept_port(FLOWER_PORT))))
        # What workers do then is for a Redis that ends with them.
        is_worthless = bool(command) and at_hand.folder is not None
        patience_s = IMPATIENCE_S if is_worthless else organism.celery.grace_s + PATIENCE_S
        stack.callback(end, parts, told, patience_s=patience_s)
        if is_worthless:
            stack.callback(_mute, parts)
        # Ended last, but watched like the others.
        redis = Part("redis", (), process=at_hand.process)
        if not command:
            return _serve(organism, at_hand, redis, parts, told)
        _start(parts)
        if sys.stderr is not None and sys.stderr.isatty():
            where = _redis_of(organism, at_hand)
            say(f"{organism.name}: {where}; {counted(workers, 'worker')}")
        return _run_to_its_end(command, [redis, *parts], told)


def _serve(
    organism: Organism, at_hand: RedisAtHand, redis: Part, parts: list[Part], told: Told
) -> int:
    """Start the parts, say what they are and when they work, and stay until one ends."""
    arrival = Arrival(organism, parts)
    _start(parts)
    _show(organism, at_hand, parts)
    with arrival.awaited():
        return _watch([redis, *parts], told)


def _workers(organism: Organism, count: int, concurrency: int, loglevel: str) -> Iterator[Part]:
    for number in range(1, count + 1):
        command = worker_command(organism, concurrency=concurrency, loglevel=loglevel)
        yield Part(f"worker-{number}", command)


def _pump(file: Path, metrics: Address | None) -> Part:
    command, link = [*_PYTHON, "pipeline.cli.main", "run", str(file)], ""
    if metrics is not None:
        command += ["--metrics-host", metrics.host, "--metrics-port", str(metrics.port)]
        link = f"http://{metrics.host}:{metrics.port}/metrics"
    return Part("pump", command, link)


def _flower(port: int) -> Part:
    if not os.environ.get("FLOWER_BASIC_AUTH") and not os.environ.get("FLOWER_AUTH"):
        # Without a password it may be looked at and nothing else, whatever else is set.
        os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)
    command = [*_PYTHON, "celery", "-A", "tasks", "flower"]
    options = ["--address=127.0.0.1", f"--port={port}", "--logging=warning"]
    return Part("flower", [*command, *options], f"http://127.0.0.1:{port}", is_optional=True)


def _start(parts: list[Part]) -> None:
    width = max(len(part.name) for part in parts)
    for number, part in enumerate(parts):
        part.start(width=width, colour=COLOURS[number % len(COLOURS)])


def _mute(parts: list[Part]) -> None:
    for part in parts:
        part.is_muted = True


def _watch(parts: list[Part], told: Told) -> int:
    """Wait until told to stop, or until a part ends by itself."""
    while True:
        wait_until(lambda: bool(told.count) or any(part.has_ended for part in parts))
        if told.count:
            told.announced = told.count
            say("ending; Ctrl-C again stops at once")
            return OK
        gone = _gone(parts)
        if gone is not None:
            return FAILED


def _gone(parts: list[Part]) -> Part | None:
    """A part that ended and without which there is no going on; others are let go."""
    for part in [part for part in parts if part.has_ended]:
        code = part.process.returncode if part.process else 0
        part.finish()
        if not part.is_optional:
            say(f"{part.name} ended by itself ({_code(code)}); so does everything else")
            return part
        say(f"{part.name} ended by itself ({_code(code)}); the rest goes on")
        parts.remove(part)
    return None


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _run_to_its_end(command: tuple[str, ...], parts: list[Part], told: Told) -> int:
    """Run *command* while the parts run; its exit code, as a shell tells it."""
    try:
        # A group of its own, or a Ctrl-C would reach it once from the terminal and once from us.
        process = subprocess.Popen(command, process_group=0)  # noqa: S603 - the user's own
    except OSError as exc:
        raise click.ClickException(f"{command[0]}: {exc.strerror}") from exc

    passed_on, code = 0, None
    while process.poll() is None:
        wait_until(
            lambda seen=passed_on: (  # type: ignore[misc]  # a default binds it now
                process.poll() is not None
                or told.count > seen
                or any(part.has_ended for part in parts)
            )
        )
        if told.count > passed_on:
            passed_on = told.count
            process.send_signal(told.first)
        elif _gone(parts) is not None:
            process.terminate()
            code = FAILED
            break
    process.wait()
    if code is not None:
        return code
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _show(organism: Organism, at_hand: RedisAtHand, parts: list[Part]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Part", style="cyan")
    table.add_column("Process", justify="right")
    table.add_column("Where", overflow="fold")
    where = _redis_of(organism, at_hand).removeprefix("redis at ")
    process = at_hand.process.pid if at_hand.process else ""
    table.add_row("redis", str(process), Text(where))
    for part in parts:
        table.add_row(part.name, str(part.pid), Text(part.link))
    console = Console(highlight=False)
    console.print(Text(f"{organism.name} starts; Ctrl-C ends it", style="bold"))
    console.print(table)
    if _is_private(organism, at_hand):
        path = shlex.quote(str(_write_environment(at_hand)))
        console.print(f"From another terminal: . {path}; pump threads", soft_wrap=True)


def _is_private(organism: Organism, at_hand: RedisAtHand) -> bool:
    return at_hand.folder is not None and organism.backend.redis_url == at_hand.url


def _redis_of(organism: Organism, at_hand: RedisAtHand) -> str:
    """Where it is, and whether it is ours alone."""
    client = connect(organism.backend.redis_url)
    where = describe(client)
    disconnect(client)
    return f"{where}, private: its data ends with it" if _is_private(organism, at_hand) else where


def _write_environment(at_hand: RedisAtHand) -> Path:
    """A file for a shell to read: what other commands need, for nobody else to see."""
    if at_hand.folder is None:  # pragma: no cover - asked for a private server only
        raise RuntimeError("no folder")
    path = at_hand.folder / "environment"
    path.touch(mode=0o600)
    names = ("REDIS_URL", VARIABLE)
    lines = (f"export {name}={shlex.quote(os.environ[name])}\n" for name in names)
    path.write_text("".join(lines))
    return path
