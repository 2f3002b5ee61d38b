"""The Celery tasks: one for each listener that runs on workers, named after it."""

from celery import Celery, Task

from pipeline.organism import Organism
from tasks.names import EXECUTOR, task_name
from tasks.runtime import runtime_of


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

    #: Each run tells of itself; see `tasks.events`.
    send_events = False

    def __init__(self, organism: Organism, listener: str) -> None:
        self.name = task_name(organism, listener)
        self._organism = organism
        self._listener = listener

    def run(self, batch_ids: str) -> None:
        """Run them. What comes of each goes to the ledger, not to Celery."""
        runtime = runtime_of(self.app, self._organism, self.request.hostname)
        runtime.run(self.name, self._listener, batch_ids)
