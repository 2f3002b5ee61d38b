"""`pump init`: a small organism that runs at once, to be changed into one's own."""

import re
from importlib.resources import files
from pathlib import Path

import click

#: A folder's name that is also an organism's.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
TEMPLATES = ("organism.yaml", "handlers.py", "input.jsonl", "README.md")


@click.command()
@click.argument("name")
def init(name: str) -> None:
    """Create the folder NAME with an organism to start from."""
    if not NAME.fullmatch(name):
        raise click.BadParameter(
            f"{name!r} must begin with a letter or _ and go on with letters, digits, _ or -",
            param_hint="NAME",
        )
    folder = Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise click.UsageError(f"{name} exists and is not an empty folder")
    folder.mkdir(exist_ok=True)
    templates = files("pipeline.cli") / "templates"
    for file in TEMPLATES:
        text = (templates / f"{file}.tmpl").read_text("utf-8")
        (folder / file).write_text(text.replace("{{name}}", name), "utf-8")
    click.echo(f"Created {', '.join(TEMPLATES)} in {name}/. Run it:\n")
    click.echo(f"  cd {name}")
    click.echo("  pump run organism.yaml --to primes --input input.jsonl --output -")
