"""The organism under fire, in a folder of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fleet import write_organism

LEASE_S = 5.0
PREFIX = "chaos:"
#: Kept until all is counted.
KEEP_CLOSED = 1_000_000

#: Each handler, and whether it runs on workers.
HANDLERS = (("crunch", True), ("echo", False), ("spread", False), ("hold", False))
LISTENERS = [
    {
        "name": name,
        "handler": f"tests.chaos.handlers.{name}",
        "payload_class": "tests.chaos.handlers.Ask",
        "cpu_bound": is_cpu_bound,
    }
    for name, is_cpu_bound in HANDLERS
]
LISTENERS.append({**LISTENERS[-1], "name": "hold-on-worker", "cpu_bound": True})


@contextmanager
def scene(
    url: str, prefix: str = PREFIX, *, lease_s: float = LEASE_S, **backend: Any
) -> Iterator[Path]:
    """An organism file over the Redis at *url*; *backend* are settings of that section."""
    with tempfile.TemporaryDirectory(prefix="pump-chaos-") as folder:
        yield write_organism(
            Path(folder) / "organism.yaml",
            url,
            prefix,
            LISTENERS,
            celery={"lease_s": lease_s},
            backend={"keep_closed": KEEP_CLOSED, **backend},
        )
