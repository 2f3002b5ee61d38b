"""Where metrics are asked for: what keeps a process from showing them is said before it works."""

from typing import NamedTuple, Protocol

from pipeline.errors import ConfigError
from pipeline.metrics.shapes import Collect

LOOPBACK = "127.0.0.1"
MAX_PORT = 65535


class Address(NamedTuple):
    """Of this machine."""

    host: str
    port: int


class MetricsEndpoint(Protocol):
    """An address that is taken, for one process; see `exposition.MetricsServer`."""

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    def start(self, collect: Collect, **labels: str) -> None:
        """Answer with what *collect* tells, each row with *labels* besides its own."""
        ...

    def forget(self) -> None:
        """In a process forked from the one that listens: let go of its socket."""
        ...

    def stop(self) -> None:
        """Listen no more."""
        ...


def endpoint_at(address: Address) -> MetricsEndpoint:
    """Take an address.

    Raises:
        ConfigError: prometheus-client is missing, or the address can't be had; with the remedy.
    """
    try:
        # An extra that most processes do without.
        from pipeline.metrics.exposition import MetricsServer  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise ConfigError(
            "metrics need prometheus-client; pip install 'celery-pump[metrics]'"
        ) from exc
    host, port = address
    if not 0 < port <= MAX_PORT:
        raise ConfigError(f"metrics can't be at port {port}; choose one of 1 to {MAX_PORT}")
    try:
        return MetricsServer(host, port)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError(
            f"metrics can't be at {host} port {port}: {reason}; choose another --metrics-port or"
            " --metrics-host"
        ) from exc
