"""Arguments that several commands share."""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from backends.redis.connection import connect, disconnect
from pipeline.errors import ConfigError
from pipeline.heartbeat import Heartbeat
from pipeline.organism import Organism
from pipeline.organism_file import ConfigWarning, load_organism

DEFAULT_FILE = Path("organism.yaml")

#: How URLs of a Redis Cluster begin, in one library or another.
_CLUSTERS = ("redis+cluster", "rediss+cluster", "rediscluster", "redis-cluster", "cluster")
#: Goes on from what names the cluster.
WHY_NO_CLUSTER = (
    "whose scripts can't touch keys of several slots and which is no broker for Celery;"
    " name a single server or Sentinels"
)


def organism_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* a parameter `file: Path`: `--file`, `$ORGANISM` or ./organism.yaml."""

    @click.option("--file", "option", type=Path, metavar="FILE", help="The organism.")
    @functools.wraps(command)
    def with_file(*args: Any, option: Path | None, **kwargs: Any) -> Any:
        return command(*args, file=find_file(option), **kwargs)

    return with_file


def organism_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same as `organism_option`, with a first argument FILE that goes before all."""

    @click.argument("argument", type=Path, metavar="[FILE]", required=False)
    @click.option("--file", "option", type=Path, metavar="FILE", help="The same as FILE.")
    @functools.wraps(command)
    def with_file(*args: Any, argument: Path | None, option: Path | None, **kwargs: Any) -> Any:
        return command(*args, file=find_file(argument or option), **kwargs)

    return with_file


heartbeat_option = click.option(
    "--heartbeat-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Touched every second while this process gets around; for probes.",
)


def clear_heartbeat(path: Path | None) -> None:
    """See to it that *path* can be written, and that none is left of a former process.

    Raises:
        BadParameter: it can't.
    """
    try:
        Heartbeat(path).clear()
    except OSError as exc:
        text = f"{path}: {exc.strerror}"
        raise click.BadParameter(text, param_hint="--heartbeat-file") from exc


def find_file(given: Path | None) -> Path:
    """The organism's file: *given*, `$ORGANISM` or ./organism.yaml.

    Raises:
        click.UsageError: there is none of these.
    """
    if given:
        return given
    named = os.environ.get("ORGANISM")
    if named:
        return Path(named)
    if DEFAULT_FILE.is_file():
        return DEFAULT_FILE
    raise click.UsageError(
        "which organism? Name its file, set $ORGANISM, or go to the folder of organism.yaml"
    )


def load(file: Path) -> Organism:
    """The organism in *file*; what it ignores is told on stderr, a line each.

    Raises:
        ConfigError: with every mistake; a Redis that no URL of its leads to is one.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConfigWarning)
        organism = load_organism(file)
    for each in caught:
        if issubclass(each.category, ConfigWarning):
            click.echo(f"warning: {each.message}", err=True)
        else:
            warnings.showwarning(each.message, each.category, each.filename, each.lineno)
    problems = url_problems(organism, file)
    if problems:
        raise ConfigError(*problems)
    return organism


def url_problems(organism: Organism, file: Path) -> list[str]:
    """What is wrong with the URLs of an organism over Redis, as far as they tell by themselves."""
    if organism.backend.backend_type != "redis":
        return []
    urls = {
        "backend.redis_url": organism.backend.redis_url,
        "celery.broker_url": organism.celery.broker_url,
    }
    problems = [
        f"{file}: {setting} names a Redis Cluster, {WHY_NO_CLUSTER}"
        for setting, url in urls.items()
        if url.partition("://")[0].lower() in _CLUSTERS
    ]
    if not problems:
        try:
            # Opens no connection.
            disconnect(connect(organism.backend.redis_url))
        except ValueError as exc:
            problems.append(f"{file}: backend.redis_url: {exc}")
    return problems


def load_shared(file: Path) -> Organism:
    """The same, for a command that asks Redis.

    Raises:
        ConfigError: with every mistake, or because the organism keeps nothing in Redis.
    """
    organism = load(file)
    kind = organism.backend.backend_type
    if kind != "redis":
        raise ConfigError(
            f"{file}: backend.type is {kind}, whose conversations end with their pump;"
            " this command needs redis"
        )
    return organism
