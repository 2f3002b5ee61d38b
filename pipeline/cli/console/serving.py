"""Runs the console's server until it is interrupted."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import click
import uvicorn

from pipeline.cli.console.access import Keys
from pipeline.cli.console.desk import Desk
from pipeline.cli.console.redaction import Rule
from pipeline.cli.console.web import Console
from pipeline.cli.interrupts import Interrupts
from pipeline.cli.reporting import say
from pipeline.organism import Organism

#: Seconds that requests under way get when it ends.
_GRACE_S = 3


@dataclass(frozen=True)
class Settings:
    """How a console is to be."""

    #: Names it answers to, besides `localhost` and addresses.
    hosts: tuple[str, ...] = ()
    #: None for one that is made up.
    token: str | None = None
    is_read_only: bool = False
    #: What it may show of payloads and errors.
    rule: Rule = Rule()  # noqa: RUF009 - frozen


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours: open pages have to be let go first."""
        yield


def serve(organism: Organism, listener: socket.socket, settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit code.

    Args:
        listener: listens; closed by whoever opened it.
    """
    keys = Keys(settings.token)
    with closing(Desk(organism, settings.rule)) as desk:
        asyncio.run(_serve(organism, listener, settings, keys, desk))
    return 0


async def _serve(
    organism: Organism, listener: socket.socket, settings: Settings, keys: Keys, desk: Desk
) -> None:
    host, port = listener.getsockname()[:2]
    console = Console(
        desk,
        keys,
        port=port,
        organism=organism.name,
        hosts=settings.hosts,
        is_read_only=settings.is_read_only,
    )
    server = _Server(
        uvicorn.Config(
            console.app,
            log_config=None,
            access_log=False,
            # What goes wrong in an endpoint is answered; the rest are clients that left.
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
            limit_concurrency=512,
            timeout_keep_alive=15,
        )
    )

    def end() -> None:
        server.should_exit = True
        console.live.end()

    def leave() -> None:
        server.force_exit = True

    with Interrupts(end, leave):
        # One of ours once, and nowhere else: whoever has it is let in. One that was set is known to
        # whoever should know it, and this line may go into a log.
        made_up = "" if settings.token else f"#token={keys.token}"
        click.echo(f"console: {_url(host, port)}/{made_up}")
        say("Ctrl-C ends it")
        await server.serve(sockets=[listener])


def _url(host: str, port: int) -> str:
    """Where a browser on this host finds it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
