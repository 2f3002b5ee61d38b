"""Writes docs/configuration.md from the classes that `organism.yaml` is bound to.

`python docs/hooks/reference.py` writes it; a test tells when that was forgotten.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pipeline.organism import Listener
from pipeline.organism_file import OrganismFile
from pipeline.settings import Setting, settings_of

PAGE = Path(__file__).parents[1] / "configuration.md"
_HEAD = """\
<!-- Written by docs/hooks/reference.py; change what it reads, not this. -->
# Configuration

Every setting of `organism.yaml`, as its loader knows it. `pump check FILE` reports all mistakes at
once, each with its line; an unknown key is one of them.

```yaml
# organism.yaml
organism: {name: hello}
backend: {type: redis, redis_url: "${REDIS_URL:-redis://localhost:6379/0}"}
process_pool: {workers: "${WORKERS:-2}"}
celery: {lease_s: 10, grace_s: 60}
serialization: {signing_key: "${PUMP_SIGNING_KEY:-}"}
listeners:
  - {name: split, payload_class: handlers.Text, handler: handlers.split}
  - name: count
    payload_class: handlers.Text
    handler: handlers.count
    cpu_bound: true
    timeout_s: 60
    retries: 2
```

```console
$ pump check organism.yaml
hello on redis, 2 listeners
redis at 127.0.0.1:6379, version …

Listener  Kind     Payload  Runs in  Timeout  Retries
split     handler  Text     inline         -        0
count     handler  Text     celery      60 s        2

No mistakes found.
…
```

* `${NAME}` is taken from the environment, and it is a mistake if it is not set there;
  `${NAME:-default}` has a default.
* Import paths are looked up in the file's own folder first.
* A *secret* appears in no error, log or listing. Keep it in the environment, not in the file.
* A name tells its unit: seconds in `_s`, milliseconds in `_ms`, sizes in `_bytes` and `_mb`.
* Files written for xml-pipeline load; a section that has no meaning here gives a warning.

## Top level

"""
_TAIL = """\
## Environment

What `${NAME}` takes from it aside, the commands read:

| Variable | Meaning |
|---|---|
| `ORGANISM` | The file, where a command is not given one; Celery's own command needs it. |
| `REDIS_URL` | The Redis that `pump up` uses, instead of a private one. |
| `PUMP_HEARTBEAT_FILE` | As `--heartbeat-file`, for Celery's own command. |
| `PUMP_METRICS_PORT` | As `--metrics-port`, for Celery's own command. |
| `PUMP_METRICS_HOST` | As `--metrics-host`, where that is not given. |
| `PUMP_CONSOLE_TOKEN` | The token of `pump console`, instead of one made at each start. |
| `PUMP_KEEP_LOGGING` | Set to anything: a worker leaves the root logger to your handlers. |
| `FLOWER_BASIC_AUTH` | `user:password` for the Flower that `pump up` starts. |
| `NO_COLOR` | Set to anything: no colours on a terminal. |
| `NOTIFY_SOCKET`, `WATCHDOG_USEC` | Set by systemd, whose watchdog is then told of each beat. |
"""
#: Defaults, as the file has them.
_WORDS = {"None": "none", "''": "empty", "()": "empty", "True": "`true`", "False": "`false`"}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def reference() -> str:
    """The whole page."""
    top = settings_of(OrganismFile)
    sections = {key: each for key, each in top.items() if each.inner or key == "listeners"}
    parts = [_HEAD, _table(top)]
    for key, each in sections.items():
        parts += [f"## `{key}`\n\n{each.meta.doc}\n\n", _table(_inside(each))]
    return "".join([*parts, _TAIL])


def _inside(each: Setting) -> Mapping[str, Setting]:
    return each.inner or settings_of(Listener)


def _table(settings: Mapping[str, Setting]) -> str:
    rows = [f"| {' | '.join(_cells(key, each))} |\n" for key, each in settings.items()]
    return "".join(["| Key | Value | Default | Meaning |\n|---|---|---|---|\n", *rows, "\n"])


def _cells(key: str, each: Setting) -> tuple[str, str, str, str]:
    is_section = bool(each.inner) or key == "listeners"
    name = f"[`{key}`](#{key})" if is_section else f"`{key}`"
    return name, "; ".join(_value(each)), _default(each), each.meta.doc


def _value(each: Setting) -> Iterator[str]:
    """What may stand there: its kind, its range, whether it is secret."""
    if each.meta.choices:
        yield " or ".join(f"`{choice}`" for choice in each.meta.choices)
    else:
        yield _kind(each.type, each)
    if each.meta.minimum is not None:
        yield f"at least {each.meta.minimum:g}"
    if each.meta.above is not None:
        yield f"above {each.meta.above:g}"
    if each.meta.secret:
        yield "**secret**"


def _kind(kind: Any, each: Setting) -> str:
    if each.inner:
        return "a section"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) in (types.UnionType, Union):
        options = [option for option in get_args(kind) if option not in (types.NoneType, bytes)]
        return " or ".join(_kind(option, each) for option in options)
    if get_origin(kind) is tuple:
        items = "listeners" if get_args(kind)[0] is Listener else "texts"
        return f"one or a list of {items}" if each.meta.single else f"a list of {items}"
    if kind is type or get_origin(kind) is Callable:
        return "import path"
    return _NAMES[kind]


def _default(each: Setting) -> str:
    if each.is_required:
        return "required"
    if each.inner:
        return "as below"
    if callable(each.default):
        return "one a processor"
    return _WORDS.get(repr(each.default), f"`{each.default}`")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
