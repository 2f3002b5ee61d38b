"""Whatever pumps and workers do to one another, what was promised holds."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.races.machine import Races
from tests.servers import RedisServer


def test_promises_hold_in_any_order_of_events(redis_server: RedisServer) -> None:
    """Two pumps, two workers; crashes, late comers, lost answers, clocks that differ."""
    machine = type("Machine", (Races,), {"url": redis_server.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            # To look for the shortest way to a failure takes minutes; `make races` does.
            phases=[Phase.reuse, Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
