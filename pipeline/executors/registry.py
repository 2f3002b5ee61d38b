"""Finds an executor by its name: ours, or one another package offers.

A package offers one through the entry-point group `celery_pump.executors`: a callable
that takes an `ExecutorSetup` and returns an `Executor`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from backends import BackendConfig
from backends.codec import Codec
from pipeline.errors import ConfigError
from pipeline.executors.inline import InlineExecutor
from pipeline.executors.pool_child import ChildSetup
from pipeline.executors.process_pool import ProcessPoolExecutor
from pipeline.executors.protocol import Executor
from pipeline.organism import Organism
from pipeline.stations import modules_of

if TYPE_CHECKING:
    from pipeline.spans import Spans

ENTRY_POINT_GROUP = "celery_pump.executors"


@dataclass(frozen=True)
class ExecutorSetup:
    """What an executor is made from."""

    organism: Organism
    codec: Codec
    #: How another process on this machine reaches the organism's backend.
    child_backend: Callable[[], BackendConfig]
    #: What makes spans; None where tracing is off.
    spans: "Spans | None" = None


def _inline(setup: ExecutorSetup) -> Executor:
    return InlineExecutor(setup.codec, max_threads=setup.organism.limits.max_concurrent_handlers)


def _process_pool(setup: ExecutorSetup) -> Executor:
    organism = setup.organism
    modules = dict.fromkeys(organism.serialization.modules)
    for listener in organism.listeners:
        modules.update(dict.fromkeys(modules_of(listener)))
    child = ChildSetup(
        modules=tuple(modules),
        backend=setup.child_backend(),
        signing_keys=organism.serialization.signing_key,
        realm=organism.backend.redis_prefix,
        format=organism.serialization.format,
        service=organism.name if setup.spans is not None else "",
    )
    pool = organism.process_pool
    return ProcessPoolExecutor(
        child,
        workers=pool.workers,
        max_tasks_per_child=pool.max_tasks_per_child or 0,
        spans=setup.spans,
    )


_OURS: Mapping[str, Callable[[ExecutorSetup], Executor]] = {
    "inline": _inline,
    "process_pool": _process_pool,
}


def create_executor(name: str, setup: ExecutorSetup) -> Executor:
    """The executor called *name*, not yet started.

    Raises:
        ConfigError: no installed package offers one of this name.
    """
    factory = _OURS.get(name)
    if factory is None:
        found = entry_points(group=ENTRY_POINT_GROUP)
        if name not in found.names:
            known = ", ".join(sorted({*_OURS, *found.names}))
            raise ConfigError(f"executor {name!r} is not installed; there are: {known}")
        factory = found[name].load()
    return factory(setup)
