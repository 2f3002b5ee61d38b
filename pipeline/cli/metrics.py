"""Options that let a command show metrics, and a pump's metrics while it runs."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import click

from backends.cancelling import cancel_all
from pipeline.metrics.endpoint import LOOPBACK, MAX_PORT, Address, MetricsEndpoint, endpoint_at
from pipeline.metrics.pump_metrics import PumpMetrics
from pipeline.pump import StreamPump
from tasks.names import METRICS_HOST_VARIABLE, METRICS_PORT_VARIABLE


def metrics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* a parameter `metrics: Address | None`."""

    @click.option(
        "--metrics-port",
        type=click.IntRange(1, MAX_PORT),
        envvar=METRICS_PORT_VARIABLE,
        metavar="PORT",
        help=f"Show metrics to Prometheus at this port. [${METRICS_PORT_VARIABLE}]",
    )
    @click.option(
        "--metrics-host",
        default=LOOPBACK,
        envvar=METRICS_HOST_VARIABLE,
        metavar="HOST",
        help=f"The address of that port. Default: {LOOPBACK}. [${METRICS_HOST_VARIABLE}]",
    )
    @functools.wraps(command)
    def with_metrics(*args: Any, metrics_port: int | None, metrics_host: str, **kwargs: Any) -> Any:
        metrics = None if metrics_port is None else Address(metrics_host, metrics_port)
        return command(*args, metrics=metrics, **kwargs)

    return with_metrics


def taken(address: Address | None) -> MetricsEndpoint | None:
    """Where metrics will be shown, taken before anything else begins.

    Raises:
        ConfigError: it can't be had, or prometheus-client is missing.
    """
    return None if address is None else endpoint_at(address)


def check_address(address: Address | None) -> None:
    """Refuse what `taken` would, for a process that takes it later."""
    endpoint = taken(address)
    if endpoint is not None:
        endpoint.stop()


@asynccontextmanager
async def shown(pump: StreamPump, endpoint: MetricsEndpoint | None) -> AsyncIterator[None]:
    """Show what *pump* does until the end of this block; without an endpoint nothing is counted."""
    if endpoint is None:
        yield
        return
    metrics = PumpMetrics(pump)
    watching = asyncio.create_task(metrics.clock.run(), name="loop clock")
    endpoint.start(metrics.collect, organism=pump.name)
    try:
        yield
    finally:
        await asyncio.to_thread(endpoint.stop)
        await cancel_all([watching])
