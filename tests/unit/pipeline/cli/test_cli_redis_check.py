"""What is said of servers that no test can start."""

import pytest

from backends.redis.inspection import Server
from pipeline.cli.redis_check import _durability_notes, _problems


def server(version: str = "7.0.15", *, fsync: str | None = "always") -> Server:
    return Server(
        "redis at x:1",
        version,
        is_cluster=False,
        eviction="noeviction",
        used_bytes=1,
        max_bytes=0,
        is_appending=True,
        fsync=fsync,
    )


@pytest.mark.parametrize(
    ("version", "is_refused"),
    [("6.0.16", True), ("5.0", True), ("6.2.0", False), ("7.2.4", False), ("10.0.0", False)],
)
def test_versions_are_compared_as_numbers(version: str, *, is_refused: bool) -> None:
    """6.2 is the first whose commands our scripts use."""
    assert bool(_problems(server(version))) == is_refused


def test_a_server_that_hides_its_settings() -> None:
    """As managed ones do: what is not known is told as not known."""
    (note,) = _durability_notes(server(fsync=None))
    assert "appendfsync unknown" in note
