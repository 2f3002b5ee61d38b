"""Arguments that several commands share."""

import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.errors import ConfigError
from pipeline.organism import Organism
from pipeline.organism_file import ConfigWarning, load_organism

DEFAULT_FILE = Path("organism.yaml")


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
        ConfigError: with every mistake.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConfigWarning)
        organism = load_organism(file)
    for each in caught:
        if issubclass(each.category, ConfigWarning):
            click.echo(f"warning: {each.message}", err=True)
        else:
            warnings.showwarning(each.message, each.category, each.filename, each.lineno)
    return organism


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
