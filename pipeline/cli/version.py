"""`pump version`: what is installed, for a bug report."""

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from pipeline.version import __version__

PACKAGES = ("celery", "kombu", "redis", "msgspec")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(*, as_json: bool) -> None:
    """Print the versions of celery-pump and what it stands on."""
    versions = {"celery-pump": __version__, "python": platform.python_version()}
    versions |= {name: _installed(name) for name in PACKAGES}
    if as_json:
        click.echo(json.dumps(versions))
        return
    for name, number in versions.items():
        click.echo(f"{name:<12} {number}")


def _installed(name: str) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:
        return "not installed"
