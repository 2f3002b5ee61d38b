"""What Prometheus gets over HTTP: any label it can read, and its answer whoever else connects."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pipeline.metrics import exposition
from pipeline.metrics.exposition import MOST_CONNECTIONS, MetricsServer
from pipeline.metrics.shapes import Distribution, Metric, gauge
from tests.scraping import scrape
from tests.waiting import eventually

#: Listeners as nobody would call them.
ODD = ['a "quoted" one', "two\nlines", "back\\slash", '{le="1"}', "ünïcode", ""]


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    seconds = Distribution((1.0,))
    seconds.observe(0.5)

    def collect() -> Iterator[Metric]:
        yield Metric("counter", "runs", "Runs.", [({"listener": each}, 1.0) for each in ODD])
        yield Metric("histogram", "took_seconds", "Time.", [({"listener": ODD[0]}, seconds)])
        yield gauge("up", "Always.", 1.0)

    running = MetricsServer("127.0.0.1", 0)
    running.start(collect, organism='an "odd"\none')
    yield running
    running.stop()


def test_any_name_can_be_a_label(server: MetricsServer) -> None:
    """It comes out of Prometheus's own parser as it went in."""
    seen = scrape(server.port)
    for each in ODD:
        assert seen.value("runs_total", listener=each, organism='an "odd"\none') == 1
    assert seen.value("took_seconds_bucket", le="+Inf", listener=ODD[0]) == 1


def test_who_is_slow_keeps_nobody_out(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor costs a thread each: of many that never finish asking, the oldest are ended."""
    monkeypatch.setattr(exposition, "TIMEOUT_S", 60.0)
    before = threading.active_count()
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            for _ in range(4 * MOST_CONNECTIONS)
        ]
        for each in slow[-MOST_CONNECTIONS:]:
            each.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        assert scrape(server.port).value("up") == 1
        assert slow[0].recv(1) == b""
        assert eventually(lambda: threading.active_count() <= before + MOST_CONNECTIONS)
    assert eventually(lambda: threading.active_count() <= before)
