"""An OTLP collector for tests: keeps what exporters send it by HTTP, on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """A span as it came in; ids are hexadecimal."""

    name: str
    trace_id: str
    id: str
    #: Empty at the top of a trace.
    parent: str
    service: str
    attributes: dict[str, Any]
    #: Ids of the spans it is linked to.
    links: list[str]
    #: Each event's name, and what it tells.
    events: list[tuple[str, dict[str, Any]]]
    is_error: bool


@dataclass
class Collector:
    """What has come in so far."""

    port: int
    spans: list[Seen] = field(default_factory=list)
    #: Every request's body.
    bodies: list[bytes] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, Any]:
        """What sends a process's spans here, at once."""
        return {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def of(self, trace_id: str, name: str = "") -> list[Seen]:
        """The spans of one trace, or those of one name in it."""
        spans = [span for span in tuple(self.spans) if span.trace_id == trace_id]
        return [span for span in spans if name in ("", span.name)]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port, until the end of the block."""
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                collector.bodies.append(body)
                collector.spans += _spans_in(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans_in(body: bytes) -> Iterator[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        service = _told(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    service,
                    _told(span.attributes),
                    [link.span_id.hex() for link in span.links],
                    [(event.name, _told(event.attributes)) for event in span.events],
                    span.status.code == span.status.STATUS_CODE_ERROR,
                )


def _told(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
