"""One decoder under libFuzzer, which lets itself be guided by the lines that are reached.

`python -m tests.fuzz.guided DECODER [libFuzzer's options]`; run by `python -m tests.fuzz`. Needs
atheris.
"""

import sys

import atheris

with atheris.instrument_imports(include=["backends", "pipeline", "tasks"]):
    from tests.fuzz.targets import TARGETS
from tests.fuzz.watching import decode


def main() -> None:
    """Fuzz until libFuzzer has had enough; it ends the process itself."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *options], lambda data: decode(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
