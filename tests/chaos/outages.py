"""Runs while Redis goes away and comes back, or the way to it does, or takes no writes."""

import random
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from tests.chaos.driver import Beside, Chaos
from tests.chaos.report import Report
from tests.chaos.scene import scene
from tests.chaos.striker import PUMPS, WORKERS
from tests.proxy import Proxy, running_proxy
from tests.servers import DurableRedis, RedisServer, running_redis
from tests.waiting import eventually

#: Seconds between two outages.
GAP_S = 5.0
#: Seconds between two broken connections, and from an answer that is lost to its connection's end.
CUT_PAUSE_S, DEAF_S = (0.5, 3.0), (0.0, 0.03)


#: Characters of each log that are shown where something went wrong.
_SHOWN = 3000
#: What is said when Redis goes, and when it is there again; and when it takes no writes.
AWAY, REFUSING = ("redis away", "redis back"), ("takes no writes: ", "takes writes again")


class Outage(NamedTuple):
    """What a run came to while Redis was away, and how often each process said so."""

    report: Report
    away: list[int]
    back: list[int]
    #: What each process that still runs has written.
    logs: list[str]

    def __str__(self) -> str:
        return f"{self.report}; each process said away {self.away} times, back {self.back}"

    @property
    def told(self) -> str:
        """The same, and the last of what each process has written."""
        return "\n---\n".join((str(self), *(log[-_SHOWN:] for log in self.logs)))


def restarts(messages: int, *, times: int, away_s: float, limit_s: float = 900.0) -> Outage:
    """Redis is killed under load and started again from its append-only file."""
    with tempfile.TemporaryDirectory(prefix="pump-redis-") as folder:
        server = DurableRedis(Path(folder))
        server.start()
        try:
            strike = _outages(server.kill, server.start, times, away_s)
            return _run(messages, server.url, server.url, strike, limit_s)
        finally:
            server.kill()


def freezes(messages: int, *, times: int, away_s: float, limit_s: float = 900.0) -> Outage:
    """Redis accepts connections and never answers."""
    with running_redis() as server, running_proxy(server.port) as proxy:
        strike = _outages(proxy.freeze, proxy.thaw, times, away_s)
        return _run(messages, _url(proxy), server.url, strike, limit_s)


def cuts(
    messages: int, *, seed: int, longest_s: float = float("inf"), limit_s: float = 900.0
) -> Outage:
    """Commands run and their answers are lost, and all connections break, all the time.

    Args:
        longest_s: seconds of that; on a slow machine workers may not connect in between.
    """
    chance = random.Random(seed)  # noqa: S311 - the same for the same seed

    with running_redis() as server, running_proxy(server.port) as proxy:

        def strike(is_over: Event) -> None:
            ends_at = time.monotonic() + longest_s
            while not is_over.wait(chance.uniform(*CUT_PAUSE_S)) and time.monotonic() < ends_at:
                proxy.cut_answers(chance.uniform(*DEAF_S))

        return _run(messages, _url(proxy), server.url, strike, limit_s)


def refusals(
    messages: int, *, away_s: float, gap_s: float = GAP_S, limit_s: float = 900.0
) -> Outage:
    """Redis is full, then can't save a snapshot, then has no room for its append-only file.

    Each for *away_s* seconds from when everybody has said so.
    """
    with (
        running_redis("--appendonly", "yes", "--appendfsync", "everysec") as server,
        running_redis() as counter,
        scene(server.url) as organism,
    ):
        chaos = Chaos(organism, seed=1, counter=counter.url, pause_s=None)

        def is_said(text: str) -> bool:
            return all(_counts(chaos, text))

        def strike(_is_over: Event) -> None:
            client = server.client()
            eventually(lambda: client.zcard("chaos:i:alive") == PUMPS + WORKERS, timeout_s=60.0)
            client.close()
            for code, begin, end in _deeds(server):
                time.sleep(gap_s)
                begin()
                eventually(partial(is_said, f"{REFUSING[0]}{code}"), timeout_s=30.0)
                time.sleep(away_s)
                end()

        try:
            chaos.run(messages, limit_s=limit_s, beside=strike)
            return outage_of(chaos, REFUSING)
        finally:
            chaos.close()


_Deed = tuple[str, Callable[[], None], Callable[[], None]]


def _deeds(server: RedisServer) -> tuple[_Deed, ...]:
    """What makes Redis refuse writes, with which code, and what ends that."""
    return (
        ("OOM", *_full_memory(server)),
        ("MISCONF", *_failed_save(server)),
        ("MISCONF", *_full_disk(server)),
    )


_Pair = tuple[Callable[[], None], Callable[[], None]]


def _full_memory(server: RedisServer) -> _Pair:
    """It has more than `maxmemory` allows, and refuses what would be more."""
    return _setting(server, "maxmemory", "1mb"), _setting(server, "maxmemory", "0")


def _failed_save(server: RedisServer) -> _Pair:
    """It can't save a snapshot, and refuses all writes until it could."""
    dump = server.folder / "dump.rdb"

    def fail() -> None:
        # A folder is nothing that a file could be moved over.
        dump.unlink(missing_ok=True)
        dump.mkdir()
        _setting(server, "save", "3600 1")()
        _save(server)

    def mend() -> None:
        dump.rmdir()
        _save(server)

    return fail, mend


def _full_disk(server: RedisServer) -> _Pair:
    """Its append-only file can't grow, and it refuses all writes until it can."""

    def fill() -> None:
        log = next((server.folder / "appendonlydir").glob("*.incr.aof"))
        _limit_files(server, log.stat().st_size)

    return fill, partial(_limit_files, server, resource.RLIM_INFINITY)


def _limit_files(server: RedisServer, most_bytes: int) -> None:
    """No file of the server's grows beyond this, as if its disk were full."""
    resource.prlimit(
        server.process.pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY)
    )


def _setting(server: RedisServer, name: str, value: str) -> Callable[[], None]:
    def change() -> None:
        client = server.client()
        client.config_set(name, value)
        client.close()

    return change


def _save(server: RedisServer) -> None:
    """Try to save a snapshot, and wait for what comes of it."""
    client = server.client()
    client.bgsave()
    info: Any = client.info
    assert eventually(lambda: not info("persistence")["rdb_bgsave_in_progress"], timeout_s=30.0)
    client.close()


def _url(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


def _outages(
    begin: Callable[[], None], end: Callable[[], None], times: int, away_s: float
) -> Beside:
    def strike(_is_over: Event) -> None:
        for _ in range(times):
            time.sleep(GAP_S)
            begin()
            time.sleep(away_s)
            end()

    return strike


def _run(messages: int, url: str, direct_url: str, beside: Beside, limit_s: float) -> Outage:
    with running_redis() as counter, scene(url) as organism:
        chaos = Chaos(organism, seed=1, counter=counter.url, pause_s=None, direct_url=direct_url)
        try:
            chaos.run(messages, limit_s=limit_s, beside=beside)
            return outage_of(chaos)
        finally:
            chaos.close()


def outage_of(chaos: Chaos, said: tuple[str, str] = AWAY) -> Outage:
    """What a run came to, once it is over."""
    # The end of a refusal is said when it has been quiet for a while, and an outage's when somebody
    # asks again.
    eventually(lambda: all(_is_over(log, said) for log in chaos.logs()), timeout_s=30.0)
    away, back = (_counts(chaos, each) for each in said)
    return Outage(chaos.report, away, back, chaos.logs())


def _is_over(log: str, said: tuple[str, str]) -> bool:
    """What was said last is that it is over, or nothing was."""
    begin, end = (log.rfind(each) for each in said)
    return begin <= end


def _counts(chaos: Chaos, text: str) -> list[int]:
    return [log.count(text) for log in chaos.logs()]
