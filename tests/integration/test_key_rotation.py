"""A signing key is replaced while work goes on: processes restart one by one."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import yaml

from backends import BackendConfig
from backends.codec import Codec
from backends.redis.archive import Archive
from tests.acceptance.fleets import Command, pump, started, write_sums
from tests.servers import RedisServer

OLD, NEW = "the key of last year", "the key of this year"
#: In this order; each pump and each worker is restarted once a step, one after the other.
STEPS = ([OLD], [OLD, NEW], [NEW, OLD], [NEW])
LINES = "".join(f'{{"n": {n}}}\n' for n in range(20))


def archive_of(server: RedisServer, prefix: str, key: str) -> Archive:
    """What can be read with one key."""
    return Archive(BackendConfig("redis", server.url, prefix), Codec(keys=[key], realm=prefix))


class Rolling:
    """Two pumps and two workers, restarted one by one on whatever keys the file has by then."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self._running: dict[str, ExitStack] = {}
        self.logs: list[Command] = []

    def write_keys(self, keys: list[str]) -> None:
        file = self.folder / "organism.yaml"
        declared = yaml.safe_load(file.read_text())
        declared["serialization"] = {"signing_key": keys}
        file.write_text(yaml.safe_dump(declared))

    def restart(self, name: str) -> None:
        command, ready = ("worker", " ready.") if "worker" in name else ("run", "Ctrl-C ends it")
        own = ExitStack()
        part = own.enter_context(started(self.folder, command, "organism.yaml"))
        assert part.says(ready), part.log
        self.logs.append(part)
        if name in self._running:
            self._running[name].close()
        self._running[name] = own
        self._stack.callback(own.close)

    def asks(self, lines: str = LINES) -> None:
        """A job from outside, while the keys of pumps and workers may differ."""
        done = pump(self.folder, "run", "--to", "squares", "--input", "-", stdin=lines)
        assert done.returncode == 0, done.stderr
        expected = [sum(k * k for k in range(n)) for n in range(lines.count("\n"))]
        assert done.stdout.split() == [f'{{"n":{total}}}' for total in expected]


@pytest.mark.timeout(400)
def test_a_key_is_rotated_under_load(
    tmp_path: Path, redis_server: RedisServer, redis_client: redis.Redis, redis_prefix: str
) -> None:
    """[old], [old, new], [new, old], [new]: every answer comes, and no record is refused."""
    folder = tmp_path / "sums"
    write_sums(folder, redis_server.url, redis_prefix)
    parts = ("pump-1", "worker-1", "pump-2", "worker-2")
    with ExitStack() as stack:
        rolling = Rolling(folder, stack)
        for keys in STEPS:
            rolling.write_keys(keys)
            for part in parts:
                rolling.restart(part)
                if part in ("worker-1", "worker-2"):
                    rolling.asks()
        logs = "".join(part.log for part in rolling.logs)
    counts = redis_client.hgetall(f"{redis_prefix}l:counts")
    assert b"refused" not in counts, counts
    assert b"dead_letters" not in counts, counts
    assert "record refused" not in logs
    # What the old key signed is no longer read, once it is taken off the list.
    with archive_of(redis_server, redis_prefix, NEW) as archive:
        readable = [len(each.hops) for each in archive.conversations(1000)]
    assert 0 in readable
    assert readable[-1] > 0


def test_a_step_too_many_at_once_is_refused_not_lost(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str
) -> None:
    """From [old] to [new] with nothing between: what the old key signed waits for its return.

    Beside those that have the old one alone nobody starts who would have to refuse their work.
    """
    folder = tmp_path / "sums"
    write_sums(folder, redis_server.url, redis_prefix, serialization={"signing_key": [OLD]})
    with started(folder, "run", "organism.yaml") as part:
        assert part.says("Ctrl-C ends it"), part.log
        assert pump(folder, "send", "picky", '{"n": 1}').returncode == 1
        send = ["send", "picky", '{"n": 1}']
        for keys, words in (([NEW], ["run"]), ([NEW], ["worker"]), ([NEW], send), ([], send)):
            write_sums(folder, redis_server.url, redis_prefix, serialization={"signing_key": keys})
            done = pump(folder, *words)
            assert done.returncode == 1, (words, done.stderr)
            assert "that sign otherwise: give all the same" in done.stderr
        part.process.terminate()
        assert part.process.wait(30) == 0
    write_sums(folder, redis_server.url, redis_prefix, serialization={"signing_key": [NEW]})
    for key, readable in ((NEW, 0), (OLD, 1)):
        with archive_of(redis_server, redis_prefix, key) as archive:
            (conversation,) = archive.conversations(10)
            assert len(conversation.hops) == readable
    # Once the others have stopped.
    with started(folder, "run", "organism.yaml") as part:
        assert part.says("Ctrl-C ends it"), part.log
