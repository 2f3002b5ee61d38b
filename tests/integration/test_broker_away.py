"""Whether a worker's broker is away, asked beside the worker's own connection."""

from pathlib import Path

import pytest

from pipeline.organism_file import load_organism
from tasks.application import create_app
from tasks.pulse import is_broker_away
from tests.integration.conftest import WriteOrganism
from tests.servers import running_rabbitmq


def _asked(organism: Path) -> bool:
    loaded = load_organism(organism)
    return is_broker_away(create_app(loaded), loaded)


def test_redis_is_there_or_not(write: WriteOrganism) -> None:
    """The backend's own, by default."""
    assert not _asked(write())
    assert _asked(write(url="redis://127.0.0.1:1/0"))


def test_rabbitmq_is_there_or_not(write: WriteOrganism) -> None:
    """Whatever the state of Redis."""
    with running_rabbitmq() as broker:
        organism = write(celery={"broker_url": broker.url})
        assert not _asked(organism)
        broker.stop()
        assert _asked(organism)


@pytest.mark.parametrize("scheme", ["unix", "redis+socket"])
def test_a_socket_that_is_not_there(write: WriteOrganism, tmp_path: Path, scheme: str) -> None:
    """However its URL is written."""
    assert _asked(write(celery={"broker_url": f"{scheme}://{tmp_path}/none"}))
