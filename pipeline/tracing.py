"""Whether this process is traced, and how a command of ours exports what it traces.

A library leaves the tracer provider to its user: tracing is on where a real one is set when the
pump starts. Commands have no user's code, so they set one up as OpenTelemetry's own variables say.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from threading import Thread
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.spans import Spans

#: What asks for traces: `otlp`, `console`, or any other exporter that is installed; by commas.
VARIABLE = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_GROUP = "opentelemetry_traces_exporter"
#: Seconds that the last spans may take on their way out.
FLUSH_S = 3.0


def spans_of_process(provider: Any = None) -> "Spans | None":
    """What makes spans; None where tracing is off.

    Args:
        provider: OpenTelemetry's `TracerProvider`; the global one without it.
    """
    if "opentelemetry.trace" not in sys.modules:
        # Whoever set a provider has imported it.
        return None
    from opentelemetry import trace  # noqa: PLC0415 - an optional extra

    provider = provider or trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return None
    tracer = provider.get_tracer("celery-pump", __version__)
    if isinstance(tracer, trace.NoOpTracer):
        return None
    from pipeline.spans import Spans  # noqa: PLC0415 - imports the extra

    return Spans(tracer)


def check_environment() -> None:
    """Refuse what the variables ask for and this installation lacks.

    Raises:
        ConfigError: which package is missing.
    """
    _exporters()


def export_traces(service: str) -> None:
    """Have this process traced as the variables say, if it is not already.

    Args:
        service: its name, unless the variables give one.

    Raises:
        ConfigError: which package is missing.
    """
    exporters = _exporters()
    if not exporters or spans_of_process() is not None:
        return
    from opentelemetry import trace  # noqa: PLC0415 - an optional extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": service}))
    # At exit it would wait for a collector that is away, for longer than anybody has time.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
    trace.set_tracer_provider(provider)


def flush() -> None:
    """Let the last spans out, for at most `FLUSH_S` seconds."""
    api: Any = sys.modules.get("opentelemetry.trace")
    force_flush = getattr(api and api.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        # The SDK does not keep to a time limit of its own.
        thread = Thread(target=force_flush, name="flush traces", daemon=True)
        thread.start()
        thread.join(FLUSH_S)


@contextmanager
def exporting_traces(service: str) -> Iterator[None]:
    """For a command: `export_traces`, and `flush` at its end."""
    export_traces(service)
    try:
        yield
    finally:
        flush()


def _exporters() -> list[EntryPoint]:
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    wanted = [name for name in names if name not in ("", "none")]
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    try:
        import opentelemetry.sdk.trace  # noqa: F401, PLC0415 - an optional extra
    except ImportError:
        raise ConfigError(
            f"{VARIABLE} asks for traces, and OpenTelemetry is not installed:"
            " pip install 'celery-pump[tracing]'"
        ) from None
    installed = entry_points(group=_GROUP)
    return [_exporter(name, {each.name: each for each in installed}) for name in wanted]


def _exporter(name: str, installed: dict[str, EntryPoint]) -> EntryPoint:
    for candidate in _candidates(name):
        if candidate in installed:
            return installed[candidate]
    remedy = (
        "pip install opentelemetry-exporter-otlp-proto-http"
        if name == "otlp"
        else f"there are: {', '.join(sorted(installed))}"
    )
    raise ConfigError(f"{VARIABLE}: no exporter {name!r} is installed; {remedy}")


def _candidates(name: str) -> list[str]:
    """Names under which an exporter may be installed, the best first."""
    if name != "otlp":
        return [name]
    protocol = next((os.environ[each] for each in _PROTOCOLS if os.environ.get(each)), "")
    if protocol:
        return ["otlp_proto_grpc" if protocol.strip() == "grpc" else "otlp_proto_http"]
    # The specification's default; and gRPC does not survive a fork.
    return ["otlp_proto_http", "otlp_proto_grpc"]
