"""The command `pump`, and how its failures become exit codes: 0 done, 1 failed, 2 wrong usage."""

import os
import sys
from collections.abc import Sequence

import click

from backends.errors import BackendError
from pipeline.cli.check import check
from pipeline.cli.console.command import console
from pipeline.cli.dead_letters import dead_letters
from pipeline.cli.init import init
from pipeline.cli.interrupts import INTERRUPTED
from pipeline.cli.reporting import printable
from pipeline.cli.run import run
from pipeline.cli.send import send
from pipeline.cli.threads import threads
from pipeline.cli.trace import trace
from pipeline.cli.up import up
from pipeline.cli.version import version
from pipeline.cli.worker import worker
from pipeline.errors import ConfigError, PipelineError

OK, FAILED, USAGE = 0, 1, 2

#: Every subcommand, in the order `pump --help` lists them.
COMMANDS: tuple[click.Command, ...] = (
    init,
    check,
    run,
    worker,
    up,
    send,
    threads,
    trace,
    dead_letters,
    console,
    version,
)


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(self.commands)


@click.group(cls=_InOrder, invoke_without_command=True)
@click.pass_context
def pump(ctx: click.Context) -> int:
    """Run organisms of message handlers, on one machine or a Celery fleet."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return USAGE
    return OK


for _command in COMMANDS:
    pump.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors are a line each on stderr."""
    try:
        code = pump.main(args=argv, prog_name="pump", standalone_mode=False)
    except ConfigError as exc:
        return _fail(USAGE, *exc.problems)
    except click.UsageError as exc:
        where = exc.ctx.command_path if exc.ctx else "pump"
        return _fail(USAGE, f"{where}: {exc.format_message()}")
    except click.exceptions.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us left; the interpreter must not complain when it flushes.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return FAILED
    except (PipelineError, BackendError, OSError, click.ClickException) as exc:
        return _fail(FAILED, f"pump: {exc}")
    return code if isinstance(code, int) else OK


def _fail(code: int, *lines: str) -> int:
    for line in lines:
        click.echo(printable(" ".join(line.split())), err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
