"""`pump check` on organisms over Redis: real servers, with settings that deserve a word."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.acceptance.fleets import pump, write_sums
from tests.servers import ACCOUNT, RedisServer, account, running_redis

ALL_IS_LOST = "a restart loses all since its last snapshot"


def notes(folder: Path, url: str, **sections: dict[str, Any]) -> list[str]:
    """What is said of a sound organism, without the server's address."""
    write_sums(folder, url, "x:", **sections)
    # Whoever asks how Redis keeps its file must be allowed to.
    as_admin: dict[str, Any] = {ACCOUNT: account("admin")}
    done = pump(folder, "check", "organism.yaml", "--json", **as_admin)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)["notes"]
    assert done.stderr.splitlines() == [f"note: {note}" for note in found]
    return [note.replace(url.split("/")[2], "SERVER") for note in found]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), []),
        (
            ("--appendonly", "yes", "--appendfsync", "everysec"),
            ["redis at SERVER has appendfsync everysec: a restart may lose the last 2 seconds"],
        ),
        (
            (),
            [f"redis at SERVER has no append-only file (appendonly no): {ALL_IS_LOST}"],
        ),
    ],
)
def test_what_a_restart_may_lose(tmp_path: Path, options: tuple[str, ...], said: list[str]) -> None:
    """Nothing with `appendfsync always`, else so much."""
    with running_redis(*options) as server:
        assert notes(tmp_path, f"redis://127.0.0.1:{server.port}") == said


def test_what_a_full_server_does(tmp_path: Path) -> None:
    """Eviction takes messages; little room is told before it is none."""
    options = (
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--maxmemory-policy",
        "allkeys-lru",
    )
    with running_redis(*options) as server, redis.Redis(port=server.port) as client:
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", int(used * 1.15))
        evicts, is_full = notes(tmp_path, f"redis://127.0.0.1:{server.port}")
    assert "evicts keys when it is full (maxmemory-policy allkeys-lru)" in evicts
    assert "maxmemory; when full it takes no message" in is_full


def test_a_handler_that_outlives_the_visibility_timeout(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Copies come out, and do no harm; so it is a note."""
    folder = tmp_path / "organism"
    path = write_sums(folder, redis_server.url, "x:", celery={"visibility_timeout_s": 60})
    path.write_text(path.read_text().replace("name: gate\n", "name: gate\n  timeout_s: 60\n"))
    done = pump(folder, "check")
    assert "celery.visibility_timeout_s (60 s) is not above gate's timeout_s (60 s)" in done.stderr
    path.write_text(path.read_text().replace("timeout_s: 60\n  ", "timeout_s: 59\n  "))
    assert "visibility" not in pump(folder, "check").stderr


def test_a_broker_of_its_own_is_asked_too(redis_server: RedisServer, tmp_path: Path) -> None:
    """It keeps no work of ours, so its persistence is nobody's concern."""
    with running_redis("--maxmemory-policy", "allkeys-lru") as broker:
        url = f"redis://127.0.0.1:{broker.port}"
        *_, last = notes(tmp_path, redis_server.url, celery={"broker_url": url})
        assert f"127.0.0.1:{broker.port} evicts keys" in last


def test_one_that_does_not_answer_is_a_note(tmp_path: Path) -> None:
    """An organism can be checked where its Redis can't be reached."""
    note, _ = notes(tmp_path, "redis://:secret@127.0.0.1:1")
    assert note.startswith("not checked: redis at 127.0.0.1:1 does not answer")
    assert "secret" not in note


def test_a_cluster_is_refused(tmp_path: Path) -> None:
    """By its URL, without asking; or because its node says so."""
    write_sums(tmp_path, "redis+cluster://127.0.0.1:1", "x:")
    named = pump(tmp_path, "check")
    with running_redis("--cluster-enabled", "yes") as server:
        write_sums(tmp_path, f"redis://127.0.0.1:{server.port}", "x:")
        asked = pump(tmp_path, "check")
    for done in (named, asked):
        assert done.returncode == 2
        assert "Redis Cluster" in done.stderr
        assert "name a single server or Sentinels" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_url_that_cannot_be_read(tmp_path: Path) -> None:
    """A mistake like any other; its password is not repeated."""
    write_sums(tmp_path, "redys://:secret@127.0.0.1:1", "x:")
    done = pump(tmp_path, "check")
    assert done.returncode == 2
    assert "backend.redis_url: the Redis URL can't be read" in done.stderr
    assert "secret" not in done.stderr
