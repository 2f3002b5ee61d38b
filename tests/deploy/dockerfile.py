"""A Dockerfile's steps, carried out in folders by chroot: enough of the format for ours.

No engine, no layers: a stage is a copy of the base with its steps applied. What this does not
know it refuses.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

#: The network as this machine reaches it, lent to RUN and never part of a stage.
LENT = "/run/lent"
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass
class Stage:
    """A root, and what a container of it would start with."""

    root: Path
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    variables: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    healthcheck: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


class Build:
    """Carries out one Dockerfile.

    Args:
        context: the folder that COPY reads; only what git tracks of it counts.
        work: where stages are kept; the caller removes it.
        base: a root that stands for every image named in FROM.
    """

    def __init__(self, context: Path, work: Path, base: Path) -> None:
        self._context, self._work, self._base = context, work, base
        self._variables: dict[str, str] = {}
        self._stages: dict[str, Stage] = {}
        self._stage: Stage | None = None
        self._steps: Mapping[str, Callable[[Stage, str], None]] = {
            "RUN": self._run,
            "COPY": self._copy,
            "ARG": lambda stage, text: _assign(stage.variables, text),
            "ENV": lambda stage, text: _assign(stage.environment, text),
            "SHELL": lambda stage, text: setattr(stage, "shell", json.loads(text)),
            "USER": lambda stage, text: setattr(stage, "user", text),
            "WORKDIR": self._workdir,
            "HEALTHCHECK": self._healthcheck,
            "ENTRYPOINT": lambda stage, text: setattr(stage, "entrypoint", json.loads(text)),
            "CMD": lambda stage, text: setattr(stage, "command", json.loads(text)),
        }

    def carry_out(self, dockerfile: Path) -> Stage:
        """Every step; the last stage."""
        for word, text in instructions(dockerfile.read_text()):
            if word == "FROM":
                self._from(text)
            elif self._stage is None:
                _assign(self._variables, text)
            else:
                filled = text if word == "RUN" else _filled(text, self._stage.variables)
                self._steps[word](self._stage, filled)
        assert self._stage is not None
        return self._stage

    def _from(self, text: str) -> None:
        _, *name = _filled(text, self._variables).split(" AS ")
        root = self._work / f"stage-{len(self._stages)}"
        subprocess.run(["cp", "-a", str(self._base), str(root)], check=True)
        self._stage = self._stages["".join(name) or root.name] = Stage(root)

    def _run(self, stage: Stage, text: str) -> None:
        click.echo(f"RUN {text[:70]} ...")
        mount = (
            f"mount --bind {self._lent()} {stage.root}{LENT}"
            f" && mount -t proc proc {stage.root}/proc"
            f' && mount --rbind /dev {stage.root}/dev && exec "$@"'
        )
        (stage.root / LENT[1:]).mkdir(parents=True, exist_ok=True)
        resolver = stage.root / "etc" / "resolv.conf"
        shutil.copy("/etc/resolv.conf", resolver)
        lent = {"PIP_CERT": f"{LENT}/ca.crt", "PIP_CONFIG_FILE": "/dev/null"}
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        given = {**quiet, **lent, **stage.environment, **stage.variables}
        command = ["chroot", str(stage.root), "env", f"--chdir={stage.folder}", *stage.shell, text]
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        subprocess.run(
            [*isolated, "sh", "-c", mount, "sh", *command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **given},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (stage.root / LENT[1:]).rmdir()
        resolver.write_text("")

    def _lent(self) -> Path:
        folder = self._work / "lent"
        folder.mkdir(exist_ok=True)
        shutil.copy(
            os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt"), folder / "ca.crt"
        )
        return folder

    def _copy(self, stage: Stage, text: str) -> None:
        words = shlex.split(text)
        options = {
            word.partition("=")[0]: word.partition("=")[2] for word in words if word[:2] == "--"
        }
        *sources, target = (word for word in words if word[:2] != "--")
        into = stage.root / str(Path(stage.folder) / target)[1:]
        for source in sources:
            if "--from" in options:
                origin = self._stages[options["--from"]].root / source[1:]
                subprocess.run(["cp", "-a", f"{origin}/.", str(_made(into))], check=True)
            else:
                self._copy_tracked(source, into, is_folder=target.endswith("/") or len(sources) > 1)
        if "--chmod" in options:
            into.chmod(int(options["--chmod"], 8))

    def _copy_tracked(self, source: str, into: Path, *, is_folder: bool) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--", source],
            cwd=self._context,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")[:-1]
        assert listed, f"{source} is not there"
        for path in listed:
            below = os.path.relpath(path, source)
            to = into / below if below != "." else into / Path(path).name if is_folder else into
            _made(to.parent)
            shutil.copy(self._context / path, to)

    def _workdir(self, stage: Stage, text: str) -> None:
        stage.folder = text
        _made(stage.root / text[1:])

    def _healthcheck(self, stage: Stage, text: str) -> None:
        stage.healthcheck = json.loads(text.partition("CMD ")[2])


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with what follows it; comments are gone, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables[match[1]], text)


def _assign(variables: dict[str, str], text: str) -> None:
    for word in shlex.split(text):
        name, _, value = word.partition("=")
        variables[name] = value


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
