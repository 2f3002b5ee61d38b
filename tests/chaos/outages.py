"""Runs while Redis goes away and comes back, or the way to it does."""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import NamedTuple

from tests.chaos.driver import Beside, Chaos
from tests.chaos.report import Report
from tests.chaos.scene import scene
from tests.proxy import Proxy, running_proxy
from tests.servers import DurableRedis, running_redis

#: Seconds between two outages.
GAP_S = 5.0
#: Seconds between two broken connections, and from an answer that is lost to its connection's end.
CUT_PAUSE_S, DEAF_S = (0.5, 3.0), (0.0, 0.03)


class Outage(NamedTuple):
    """What a run came to while Redis was away, and how often each process said so."""

    report: Report
    away: list[int]
    back: list[int]

    def __str__(self) -> str:
        return f"{self.report}; each process said away {self.away} times, back {self.back}"


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


def cuts(messages: int, *, seed: int, limit_s: float = 900.0) -> Outage:
    """Commands run and their answers are lost, and all connections break, all the time."""
    chance = random.Random(seed)  # noqa: S311 - the same for the same seed

    with running_redis() as server, running_proxy(server.port) as proxy:

        def strike(is_over: Event) -> None:
            while not is_over.wait(chance.uniform(*CUT_PAUSE_S)):
                proxy.cut_answers(chance.uniform(*DEAF_S))

        return _run(messages, _url(proxy), server.url, strike, limit_s)


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
            logs = chaos.logs()
            away, back = ([log.count(f"redis {word}") for log in logs] for word in ("away", "back"))
            return Outage(chaos.report, away, back)
        finally:
            chaos.close()
