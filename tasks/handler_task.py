"""The Celery tasks: one for each listener that runs on workers, named after it."""

from celery import Celery, Task
from celery.exceptions import Ignore

from pipeline.organism import Organism
from pipeline.worker import Failed
from tasks.runtime import runtime_of

EXECUTOR = "celery"


class HandlerFailedError(Exception):
    """A handler failed; its text is the error's code, and tells nothing of the payload."""


def task_name(organism: Organism, listener: str) -> str:
    """What a listener's task is called."""
    return f"{organism.name}.{listener}"


def register_handlers(app: Celery, organism: Organism) -> None:
    """Give *app* a task for each listener whose executor is Celery."""
    names = {
        listener.name
        for listener in organism.listeners
        if organism.executor_of(listener) == EXECUTOR
    }
    for name in sorted(names):
        app.register_task(HandlerTask(organism, name))


class HandlerTask(Task):  # type: ignore[misc]  # celery has no types
    """Runs the dispatches that a message names, in a worker's process."""

    throws = (HandlerFailedError,)

    def __init__(self, organism: Organism, listener: str) -> None:
        self.name = task_name(organism, listener)
        self._organism = organism

    def run(self, dispatch_ids: list[str]) -> None:
        """Run them.

        Raises:
            HandlerFailedError: one of them failed. Its answer is on its way; this is for
                those who watch.
            Ignore: there was nothing to run: a copy, or work that another worker must do.
        """
        outcomes = runtime_of(self._organism).run(dispatch_ids)
        codes = [outcome.error.code for outcome in outcomes if isinstance(outcome, Failed)]
        if codes:
            raise HandlerFailedError(str(codes[0]))
        if not any(outcomes):
            raise Ignore
