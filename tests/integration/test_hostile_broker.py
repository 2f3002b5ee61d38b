"""Whoever can write to the broker can't make a worker unpickle or import anything."""

import base64
import json
import pickle
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from pipeline import StreamPump
from tests.fleet import app_as, running_worker
from tests.integration.conftest import WriteOrganism, listener
from tests.integration.worker_handlers import Work
from tests.waiting import eventually


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def message(task: str, body: bytes, content_type: str) -> str:
    """A task message as kombu writes it into a list."""
    tag = uuid4().hex
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "binary",
            "content-type": content_type,
            "headers": {"lang": "py", "task": task, "id": tag, "root_id": tag, "retries": 0},
            "properties": {
                "correlation_id": tag,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "cpu"},
                "delivery_tag": tag,
                "priority": 0,
                "body_encoding": "base64",
            },
        }
    )


async def test_nothing_is_unpickled_or_imported(
    write: WriteOrganism, redis_client: redis.Redis, redis_prefix: str, tmp_path: Path
) -> None:
    """Pickles and YAML in the queue, and a control message that names a module to load."""
    file = write(listener())
    mark, module = tmp_path / "unpickled", tmp_path / "imported"
    (file.parent / "evil.py").write_text(f"open({str(module)!r}, 'w').close()")
    queue = f"celery.{redis_prefix}cpu"
    with running_worker(file) as worker:
        bodies = {
            "application/x-python-serialize": pickle.dumps(([Bomb(mark)], {}, {})),
            "application/x-yaml": b"!!python/object/apply:os.system ['touch " + bytes(mark) + b"']",
        }
        for content_type, body in bodies.items():
            for task in ("test.work", "celery.map", "evil.task"):
                redis_client.lpush(queue, message(task, body, content_type))
        assert eventually(lambda: worker.log.count("ContentDisallowed") >= 2, timeout_s=30)
        with closing(app_as("monitor", file)) as app:
            for arguments in ({"modules": ["evil"]}, {"modules": ["evil"], "reload": True}):
                (reply,) = app.control.broadcast(
                    "pool_restart", arguments=arguments, reply=True, timeout=5
                )
                assert "Pool restarts not enabled" in str(reply)
        async with StreamPump.from_file(file) as pump:
            assert (await pump.request("work", Work(5), timeout_s=60)).number == 5
    assert not mark.exists()
    assert not module.exists()
