"""Who asks Celery alone: sends what it is told to, and awaits the results, until it is killed.

What its predecessor says it has sent is awaited under the same id and not sent again: for Celery
every copy is one more task.
"""

import json
import os
import sys
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from celery import chord
from celery.result import AsyncResult

from tests.chaos.celery_app import app, crunch, echo, total
from tests.chaos.handlers import MEMBERS

#: Seconds between two looks at the results.
LOOK_S = 0.05


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _send(order: dict[str, Any]) -> None:
    number, request = order["number"], order["id"]
    if order["to"] == "spread":
        members = [crunch.s(number) for _ in range(MEMBERS)]
        chord(members)(total.s().set(task_id=request))
    else:
        task = crunch if order["to"] == "crunch" else echo
        task.apply_async((number,), task_id=request)
    _say(sent=request)


def _look(request: str) -> bool:
    """True when it has ended; its caller is told."""
    result = AsyncResult(request, app=app)
    if not result.ready():
        return False
    if result.successful():
        _say(id=request, **result.result)
    else:
        reason = repr(result.result)
        result.forget()
        _say(id=request, error=reason)
    return True


def _read(orders: "SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def main() -> None:
    """Ask what comes by stdin; ends with it."""
    orders: SimpleQueue[dict[str, Any]] = SimpleQueue()
    Thread(target=_read, args=(orders,), daemon=True).start()
    _say(pump=str(os.getpid()))
    waiting: list[str] = []
    while True:
        try:
            while True:
                order = orders.get_nowait()
                if not order.get("sent"):
                    _send(order)
                waiting.append(order["id"])
        except Empty:
            pass
        waiting = [request for request in waiting if not _look(request)]
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main()
