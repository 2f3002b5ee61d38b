"""Organisms over a real Redis, and pumps that use them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fleet import write_organism
from tests.integration import worker_handlers
from tests.servers import RedisServer

WriteOrganism = Callable[..., Path]


def listener(name: str = "work", handler: str = "work", **settings: Any) -> dict[str, Any]:
    """A `cpu_bound` listener over one of the handlers made for these tests."""
    module = worker_handlers.__name__
    return {
        "name": name,
        "handler": f"{module}.{handler}",
        "payload_class": f"{module}.Work",
        "cpu_bound": True,
        **settings,
    }


@pytest.fixture
def write(
    tmp_path: Path, redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> Iterator[WriteOrganism]:
    """Writes an organism's file; all of one test share data, whatever they declare."""

    def write(
        *listeners: Mapping[str, Any], name: str = "organism", url: str = "", **sections: Any
    ) -> Path:
        file = tmp_path / name / "organism.yaml"
        declared = listeners or (listener(),)
        return write_organism(file, url or redis_server.url, redis_prefix, declared, **sections)

    yield write
    for key in redis_client.scan_iter(match=f"celery.{redis_prefix}*", count=1000):
        redis_client.delete(key)
