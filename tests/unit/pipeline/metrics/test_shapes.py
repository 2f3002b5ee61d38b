"""Distributions, and what Prometheus makes of them."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from pipeline.metrics.exposition import _Adapter
from pipeline.metrics.shapes import Distribution, Metric


def test_a_bound_belongs_to_its_bucket() -> None:
    """As Prometheus's `le` has it."""
    found = Distribution((1, 2))
    for value in (0, 1, 1.5, 2, 3):
        found.observe(value)
    assert found.counts == [2, 2, 1]
    assert found.total == 7.5


def test_buckets_are_cumulative() -> None:
    """Each holds those below it, the last one all."""
    found = Distribution((0.5, 2))
    found.observe(0.1, times=3)
    found.observe(1)
    found.observe(9)
    registry = CollectorRegistry(auto_describe=False)
    metric = Metric("histogram", "x_seconds", "Of x.", [({"listener": "a"}, found)])
    registry.register(_Adapter(lambda: [metric], {"organism": "o"}))
    lines = generate_latest(registry).decode().splitlines()
    row = 'celery_pump_x_seconds_bucket{le="%s",listener="a",organism="o"} %s'
    assert [line for line in lines if "_bucket" in line] == [
        row % ("0.5", "3.0"),
        row % ("2.0", "4.0"),
        row % ("+Inf", "5.0"),
    ]
