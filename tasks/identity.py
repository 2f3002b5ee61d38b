"""Who holds a claim: a worker, and a process of it."""

import os
from uuid import uuid4

_VARIABLE = "PUMP_WORKER_ID"


def new_worker_id() -> str:
    """Begin the life of a worker; the processes it starts from now on find its id."""
    os.environ[_VARIABLE] = uuid4().hex
    return os.environ[_VARIABLE]


def owner_id() -> str:
    """This process, as the ledger knows it: `worker/pid`.

    Raises:
        RuntimeError: it is no process of a worker.
    """
    worker = os.environ.get(_VARIABLE)
    if worker is None:
        raise RuntimeError("a handler's task runs outside a worker; start one with `pump worker`")
    return f"{worker}/{os.getpid()}"
