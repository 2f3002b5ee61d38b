"""`deploy/redis/users.acl`: enough for each user's work, and little more."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from backends.redis.scripts import (
    OF_CONVERSATIONS,
    OF_LEDGER,
    OF_THREADS,
    OF_WATCHERS,
    script_text,
)
from pipeline import StreamPump
from tests.acceptance.fleets import pump
from tests.fleet import running_worker, write_organism
from tests.integration.conftest import listener
from tests.integration.worker_handlers import Work
from tests.servers import (
    ACCOUNT,
    RedisServer,
    access_rules,
    account,
    running_redis,
)
from tests.waiting import eventually

PREFIX = "mine:"
#: What a worker's ledger runs; the rest of OF_LEDGER is the pumps'.
OF_WORKERS = (*OF_THREADS, "claim", "complete", "release", "refuse", "bury", "leave", "again")
#: Steps of these scripts that concern pumps alone.
_OF_PUMPS = {"XACK", "XDEL", "XPENDING", "XRANGE", "ZCARD", "ZPOPMIN", "HKEYS", "HSETNX"}
#: What redis-py sends to connect, and for a transaction or a script.
_OF_CLIENT = {"AUTH", "HELLO", "PING", "SELECT", "CLIENT", "MULTI", "EXEC", "EVALSHA", "SCRIPT"}
#: What kombu sends to publish, and to consume; with `celery.visibility_timeout_s` it keeps copies.
_TO_PUBLISH = {"LPUSH", "PUBLISH", "SADD", "SMEMBERS"}
_TO_CONSUME = {"BRPOP", "SREM", "DEL", "EXISTS", "LLEN", "RPUSH", "PEXPIRE"} | {
    *("SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE"),
    *(
        "TIME",
        "ZRANGEBYSCORE",
        "WATCH",
        "UNWATCH",
        "SET",
        "GET",
        "HSET",
        "HGET",
        "HDEL",
        "ZADD",
        "ZREM",
        "ZRANGE",
    ),
}
#: What exporters send, whose kombu is older.
_OF_OTHERS = {"ZREVRANGEBYSCORE", "RPOP", "HLEN"}
#: What ours ask outside of scripts.
_PUMPS_OWN = {"INFO", "WAIT", "HSCAN", "XREAD", "XREADGROUP", "ZREVRANGE"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """As it is deployed: nobody is let in without a name."""
    rules = tmp_path_factory.mktemp("acl") / "users.acl"
    rules.write_text(access_rules(PREFIX, has_default=False))
    with running_redis("--aclfile", str(rules)) as server:
        yield server


def client(server: RedisServer, user: str) -> Any:
    return redis.Redis.from_url(f"redis://{account(user)}@127.0.0.1:{server.port}/0")


def allowed(user: str) -> set[str]:
    """The commands that a user's line lets it give."""
    (line,) = re.findall(
        rf"^user {user} (.*)$", access_rules(PREFIX, has_default=False), re.MULTILINE
    )
    return {word[1:].partition("|")[0].upper() for word in line.split() if word[0] == "+"}


def commands_in(names: tuple[str, ...]) -> set[str]:
    return {
        command
        for name in names
        for command in re.findall(r"redis\.call\('(\w+)'", script_text(name))
    }


def test_scripts_need_no_more_than_is_allowed() -> None:
    """A script that uses another command needs another line there."""
    assert files("backends.redis").is_dir()
    assert commands_in((*OF_THREADS, *OF_CONVERSATIONS, *OF_LEDGER, *OF_WATCHERS)) <= allowed(
        "pump"
    )
    assert commands_in(OF_WORKERS) - _OF_PUMPS <= allowed("worker")


def test_nothing_is_allowed_that_nobody_sends() -> None:
    """What is needed no more leaves the rules."""
    ours = commands_in((*OF_THREADS, *OF_CONVERSATIONS, *OF_LEDGER, *OF_WATCHERS))
    assert allowed("pump") <= ours | _OF_CLIENT | _TO_PUBLISH | _PUMPS_OWN
    to_broker = _OF_CLIENT | _TO_PUBLISH | _TO_CONSUME
    assert allowed("worker") <= commands_in((*OF_WORKERS, "beat")) | to_broker
    assert allowed("monitor") <= to_broker | _OF_OTHERS


async def test_a_fleet_under_the_rules(server: RedisServer, tmp_path: Path) -> None:
    """A pump, a worker, our commands and Celery's, each as its own user; nothing is refused."""
    with closing(client(server, "admin")) as admin:
        admin.acl_log_reset()
    url = f"redis://${{{ACCOUNT}:-{account('pump')}}}@127.0.0.1:{server.port}/0"
    organism = write_organism(tmp_path / "organism.yaml", url, PREFIX, [listener()])
    with closing(client(server, "admin")) as admin, running_worker(organism) as worker:
        async with StreamPump.from_file(organism) as running:
            requests = [running.request("work", Work(n), timeout_s=60) for n in range(50)]
            answers = await asyncio.gather(*requests)
            assert [answer.number for answer in answers] == list(range(50))
            for words in (["threads"], ["dead-letters", "list"], ["check"]):
                done = await asyncio.to_thread(pump, tmp_path, *words)
                assert done.returncode == 0, done.stderr
            await asyncio.to_thread(_inspect, organism)
            assert worker.stop() == 0, worker.log
        # redis-py introduces itself, `pump check` asks how Redis keeps its file: both do without.
        refused = {row["object"] for row in admin.acl_log()}
        assert refused <= {"client|setinfo", "client|maint_notifications", "config|get"}


async def test_a_worker_outlives_a_right_that_is_taken_away(
    server: RedisServer, tmp_path: Path
) -> None:
    """Rules are changed under way, and mended: it goes on by itself."""
    url = f"redis://${{{ACCOUNT}:-{account('pump')}}}@127.0.0.1:{server.port}/0"
    organism = write_organism(tmp_path / "organism.yaml", url, PREFIX, [listener()])
    with closing(client(server, "admin")) as admin, running_worker(organism, "-c1") as worker:
        async with StreamPump.from_file(organism) as running:
            admin.acl_log_reset()
            admin.execute_command("ACL", "SETUSER", "worker", "-brpop")
            try:
                await running.request("work", Work(1), timeout_s=60)
                assert await asyncio.to_thread(
                    eventually, lambda: "brpop" in {row["object"] for row in admin.acl_log()}
                )
            finally:
                admin.acl_log_reset()
                admin.execute_command("ACL", "SETUSER", "worker", "+brpop")
            assert (await running.request("work", Work(2), timeout_s=60)).number == 2
        assert worker.process.poll() is None, worker.log


def _inspect(organism: Path) -> None:
    """As Flower and `celery inspect` do: by the broker alone."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "inspect", "ping"],
        cwd=organism.parent,
        env={**os.environ, "ORGANISM": str(organism), ACCOUNT: account("monitor")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "pong" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("user", "words"),
    [
        *(("pump", words) for words in ("GET other:c:x", "HGETALL celery.other:unacked")),
        *(("pump", words) for words in ("PUBLISH celery.other:/0.x y", "KEYS *", "FLUSHALL")),
        *(("pump", words) for words in ("CONFIG GET requirepass", "ACL LIST", "MONITOR")),
        *(("worker", words) for words in ("HGETALL mine:v:x", "HGETALL mine:l:letters")),
        *(("worker", words) for words in ("HSET mine:v:x o 1", "GET mine:n:order")),
        *(("worker", words) for words in ("XRANGE mine:s:inbox - +", "XREAD STREAMS mine:s:x 0")),
        *(("worker", words) for words in ("HGETALL mine:e:x", "HGETALL mine:l:delayed")),
        *(
            ("worker", words)
            for words in ("ZRANGE mine:i:open 0 -1", "LRANGE celery.other:cpu 0 1")
        ),
        *(("worker", words) for words in ("CONFIG GET requirepass", "FLUSHALL", "ACL LIST")),
        *(("worker", words) for words in ("SCAN 0", "SHUTDOWN", "CLIENT LIST", "GET other:c:x")),
        *(("pump", words) for words in ("BRPOP celery.mine:cpu 1", "SUBSCRIBE celery.mine:/0.x")),
        *(("monitor", words) for words in ("CONFIG GET requirepass", "FLUSHALL", "KEYS *")),
        *(("monitor", words) for words in ("SUBSCRIBE celery.other:/0.x", "LLEN celery.other:cpu")),
        *(("monitor", words) for words in ("LRANGE mine:t:x 0 -1", "HGETALL mine:l:dispatches")),
        *(("monitor", words) for words in ("XADD mine:s:inbox * m x", "DEL mine:l:ready")),
    ],
)
def test_what_a_user_must_not_do(server: RedisServer, user: str, words: str) -> None:
    """Another organism's data, the server itself, and for a worker what pumps alone need."""
    with closing(client(server, user)) as found, pytest.raises(NoPermissionError):
        found.execute_command(*words.split())


def test_a_script_gives_no_rights(server: RedisServer) -> None:
    """Whoever may run scripts may do in them what it may do anyway."""
    with closing(client(server, "worker")) as worker:
        digest = worker.script_load("return redis.call('HGETALL', 'mine:v:x')")
        with pytest.raises(redis.ResponseError, match="(?i)can't access|permission"):
            worker.evalsha(digest, 0)


@pytest.mark.parametrize("who", ["", "pump:wrong@", "default:@"])
def test_nobody_gets_in_without_a_name(server: RedisServer, who: str) -> None:
    """The default user is off."""
    with (
        closing(redis.Redis.from_url(f"redis://{who}127.0.0.1:{server.port}/0")) as stranger,
        pytest.raises((redis.AuthenticationError, NoPermissionError)),
    ):
        stranger.ping()
