"""Decodes all that is hostile, large things included, in a process of bounded memory.

`python -m tests.fuzz.confined` prints how much there was; what would not fit ends it with 1.
"""

import resource
import sys
import time
from pathlib import Path

from tests.fuzz.hostile import large, small
from tests.fuzz.targets import TARGETS
from tests.fuzz.watching import decode

#: Bytes of address space beyond what the process has when it begins.
ROOM_BYTES = 256 * 1024**2
#: Seconds of processor time that one input may take, on a machine that others use as well.
MAX_S = 20.0


def main() -> None:
    """Confine this process, then decode."""
    inputs = small() | large()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    slowest = 0.0
    for name, data in inputs.items():
        for kind, target in TARGETS.items():
            started = time.process_time()
            decode(target, data)
            took = time.process_time() - started
            if took > MAX_S:
                raise SystemExit(f"{kind}: {name} took {took:.1f} s")
            slowest = max(slowest, took)
    sys.stdout.write(
        f"{len(inputs)} inputs, {len(TARGETS)} decoders, the slowest {slowest:.2f} s\n"
    )


if __name__ == "__main__":
    main()
