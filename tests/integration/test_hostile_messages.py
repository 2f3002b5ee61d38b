"""Whatever somebody writes into the broker's queue, a worker goes on with its work."""

import asyncio
import base64
import json
from typing import Any
from uuid import uuid4

import redis

from pipeline import StreamPump
from tests.fleet import running_worker
from tests.integration.conftest import WriteOrganism
from tests.integration.worker_handlers import Work
from tests.waiting import eventually

TASK = "test.work"


def message(body: Any, /, *, headers: Any = None, **changes: Any) -> bytes:
    """A message as Celery's producers write it into Redis, *changes* aside."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = {"id": uuid4().hex, "task": TASK, "lang": "py", "retries": 0, "ignore_result": True}
    whole = {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": known if headers is None else headers,
        "properties": {
            "correlation_id": uuid4().hex,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "cpu", "routing_key": "cpu"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": uuid4().hex,
        },
    }
    return json.dumps(whole | changes).encode()


def args(*values: Any) -> list[Any]:
    return [list(values), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


DEEP = b"[" * 10_000
BODIES: dict[str, bytes] = {
    "a number": message(5),
    "nothing": message(b""),
    "no JSON": message(b"\xff\xfe"),
    "deep": message(DEEP),
    "deep and closed": message(b"[[" + b"[" * 900 + b"]" * 900 + b"],{},{}]"),
    "a huge integer": message(b"[[" + b"9" * 5000 + b"],{},{}]"),
    "not a number": message(b"[[NaN],{},{}]"),
    "no arguments": message([]),
    "two arguments": message(args("a", "b")),
    "an argument of another kind": message(args(5)),
    "a list of batches": message(args(["a", "b"])),
    "an empty batch": message(args("")),
    "a batch of strangers": message(args("x y z " * 3000)),
    "half a surrogate": message(b'[["\\ud800"],{},{}]'),
    "keywords": message([[], {"self": 1, "batch_ids": 2}, {}]),
    "a callback that is none": message([["x"], {}, {"callbacks": [5], "errbacks": "x"}]),
    "pickled": message(
        b"\x80\x04cposix\nsystem\n.", **{"content-type": "application/x-python-serialize"}
    ),
    "of no known encoding": message([], **{"content-encoding": "rot13000"}),
    "without an id": message(args("x"), headers={"task": TASK}),
    "a task that is a list": message(args("x"), headers={"task": [], "id": "i"}),
    "a task nobody knows": message(5, headers={"task": "os.system", "id": "i"}),
    "an unknown task without an id": message(5, headers={"task": "os.system"}),
    "no headers": message(5, headers={}),
    "headers that are a list": message(5, headers=[]),
    "an end that is no time": message(
        args("x"), headers={"task": TASK, "id": "i", "expires": "whenever", "eta": "soon"}
    ),
    "limits that are none": message(
        args("x"), headers={"task": TASK, "id": "i", "timelimit": ["a", {}]}
    ),
}
#: Not even a message to the library that reads the queue.
RAW: dict[str, bytes] = {
    "no envelope": b"\xff\xfe not json",
    "an envelope of another kind": b"[]",
    "an empty envelope": b"{}",
    "deep": DEEP,
    "without properties": json.dumps({"body": "", "headers": {}}).encode(),
    "a body that is no base64": message([], body="?"),
    "a body that is a number": message([], body=5),
    "properties that are a list": message([], properties=[]),
}


async def test_a_worker_outlives_every_message(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """It says what it refuses, takes no harm, and runs what is ours."""
    organism = write()
    queue = f"celery.{redis_prefix}cpu"
    with running_worker(organism, "-c", "1") as worker:
        async with StreamPump.from_file(organism) as pump, asyncio.timeout(100):
            for what, raw in (BODIES | RAW).items():
                redis_client.lpush(queue, raw)
                assert await asyncio.to_thread(
                    eventually, lambda: redis_client.llen(queue) == 0, timeout_s=20
                ), (what, worker.log[-3000:])
                assert worker.process.poll() is None, (what, worker.log[-3000:])
            assert (await pump.request("work", Work(1))).number == 1
        assert worker.process.poll() is None, worker.log[-3000:]
        assert "Unrecoverable" not in worker.log
