"""Shows metrics to Prometheus over HTTP; needs the extra `metrics`.

One answer at a time, few connections, each with a time-out: who scrapes must not cost much, and who
is slow on purpose must keep nobody out.
"""

import logging
import math
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from itertools import accumulate
from socketserver import TCPServer
from threading import Lock, Thread
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from pipeline.metrics.shapes import PREFIX, Collect, Distribution, Metric

log = logging.getLogger(__name__)

#: Seconds that a client may take to ask, or to take its answer.
TIMEOUT_S = 5.0
#: Connections at once, each with a thread; one more ends the oldest.
MOST_CONNECTIONS = 16
PATH = "/metrics"


class MetricsServer:
    """Listens from when it is made; answers between `start` and `stop`.

    Args:
        host, port: an address of this machine; port 0 is any that is free.

    Raises:
        OSError: somebody listens there, or it is no address of this machine.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = _server(host, port)
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self, collect: Collect, **labels: str) -> None:
        """Answer with what *collect* tells, each row with *labels* besides its own."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Adapter(collect, labels))
        ProcessCollector(registry=registry)
        self._server.RequestHandlerClass = _handler(registry)
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def forget(self) -> None:
        """In a process forked from the one that listens: let go of its socket."""
        self._server.socket.close()

    def stop(self) -> None:
        """Listen no more."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Bounded(ThreadingHTTPServer):
    """Has a thread for each connection, and `MOST_CONNECTIONS` of them."""

    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        #: The oldest first.
        self._open: dict[Any, None] = {}
        self._opening = Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection more, and the oldest no longer if that is one too many."""
        with self._opening:
            self._open[request] = None
            if len(self._open) > MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                # Its thread finds it at its end, and closes it.
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close one that was served."""
        with self._opening:
            self._open.pop(request, None)
        super().shutdown_request(request)


def _server(host: str, port: int) -> HTTPServer:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, address = found[0][0], found[0][4]

    class Server(_Bounded):
        address_family = family

        def server_bind(self) -> None:
            """Bind, and ask no name server who we are."""
            TCPServer.server_bind(self)

        def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
            """Whoever asks may leave before the answer; that is no event of ours."""
            log.debug("scrape failed", extra={"action": "scrape", "reason": sys.exception()})

    return Server((str(address[0]), port), BaseHTTPRequestHandler)


def _handler(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    one_at_a_time = Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S
        server_version, sys_version = "celery-pump", ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self.send_error(HTTPStatus.NOT_FOUND, explain=f"metrics are at {PATH}")
                return
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            with one_at_a_time:
                body = encode(registry)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing: a line a scrape is nobody's news."""

    return Handler


class _Adapter(Collector):
    """Our metrics as prometheus-client's."""

    def __init__(self, collect: Collect, labels: dict[str, str]) -> None:
        self._collect = collect
        self._labels = labels

    def collect(self) -> Iterator[Family]:
        """One family a metric."""
        for metric in self._collect():
            yield self._family(metric)

    def _family(self, metric: Metric) -> Family:
        name = PREFIX + metric.name
        own = tuple(metric.rows[0][0]) if metric.rows else ()
        labels = (*self._labels, *own)
        fixed = tuple(self._labels.values())
        family = _FAMILIES[metric.kind](name, metric.help, labels=labels)
        for row, value in metric.rows:
            values = [*fixed, *(row[label] for label in own)]
            if isinstance(value, Distribution):
                family.add_metric(values, _buckets(value), value.total)
            else:
                family.add_metric(values, value)
        return family  # type: ignore[no-any-return]  # one of three classes


_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    bounds = [*map(float, distribution.bounds), math.inf]
    return list(zip(map(floatToGoString, bounds), accumulate(distribution.counts), strict=True))
