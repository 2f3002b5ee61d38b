"""`pump console`: a page that shows what is going on."""

import os
import socket
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

import click

from pipeline.cli.logs import configure_logging
from pipeline.cli.options import load_shared, organism_argument
from pipeline.cli.reporting import say

#: Where a token of one's own may be given; a random one is made up where it is not set.
TOKEN_VARIABLE = "PUMP_CONSOLE_TOKEN"  # noqa: S105 - a name, no secret
_SHORTEST_TOKEN = 20
PORT = 8642
#: The listen backlog of the socket.
_BACKLOG = 128
#: Milliseconds after which a connection ends whose client takes nothing of what it is sent; above
#: what a page gets before it is cut off.
_STALLED_MS = 20_000


@click.command()
@organism_argument
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Listen there. What isn't loopback sends the token over the network in clear.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="N",
    help="0 takes a free one.",
)
@click.option("--read-only", is_flag=True, help="Refuse to replay and drop dead letters.")
@click.option(
    "--show-field",
    "shown",
    multiple=True,
    metavar="NAME",
    help="Show the values of this field of payloads: NAME or CLASS.NAME. May be repeated.",
)
@click.option(
    "--show-reasons",
    is_flag=True,
    help="Show the words of errors and of dead letters' reasons, which may quote payloads.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Answer to this name too, as behind a proxy. May be repeated.",
)
def console(  # noqa: PLR0913 - one argument an option
    *,
    file: Path,
    host: str,
    port: int,
    read_only: bool,
    shown: tuple[str, ...],
    show_reasons: bool,
    names: tuple[str, ...],
) -> int:
    """Serve a page that shows conversations, dead letters, listeners, workers and pumps, live.

    It prints one URL with a token in it; whoever opens that is let in, nobody else is.
    $PUMP_CONSOLE_TOKEN sets a token that stays the same; that one is not printed. Of payloads
    the page shows classes, sizes and the names and types of fields, no values; of errors the
    exception's class and where it was raised, not its words.

    It needs a backend of type redis. Ctrl-C ends it; pumps and workers go on.
    """
    organism = load_shared(file)
    for module in ("starlette", "uvicorn"):
        if find_spec(module) is None:
            raise click.ClickException(
                f"the console needs {module}, which is not installed here;"
                " `pip install 'celery-pump[console]'` brings it"
            )
    # What else is not needed by any other command.
    from pipeline.cli.console.redaction import Rule  # noqa: PLC0415
    from pipeline.cli.console.serving import Settings, serve  # noqa: PLC0415

    # Who replays or drops leaves a line.
    configure_logging(is_verbose=True)
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise click.UsageError(f"${TOKEN_VARIABLE} has fewer than {_SHORTEST_TOKEN} characters")
    with _listening(host, port) as listener:
        if not _is_loopback(host):
            say(
                f"warning: {host} is no loopback address: token and page travel in clear;"
                " put a proxy with TLS before it"
            )
        settings = Settings(
            hosts=names,
            token=token,
            is_read_only=read_only,
            rule=Rule(frozenset(shown), show_reasons),
        )
        return serve(organism, listener, settings)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ClickException: it can't.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Of every connection it takes. What was closed here is there until its client has taken
            # what it was sent, which one that hangs or sleeps never does.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MS)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as exc:
        raise click.ClickException(
            f"can't listen at {host}:{port}: {exc.strerror}; --host and --port choose another place"
        ) from exc
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
