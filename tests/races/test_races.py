"""Whatever pumps and workers do to one another, what was promised holds."""

from hypothesis import Phase

from tests.machines import run_machine
from tests.races.machine import Races
from tests.servers import RedisServer


def test_promises_hold_in_any_order_of_events(redis_server: RedisServer) -> None:
    """Two pumps, two workers; crashes, late comers, lost answers, clocks that differ."""
    machine = type("Machine", (Races,), {"url": redis_server.url})
    # To look for the shortest way to a failure takes minutes; `make races` does.
    phases = [Phase.reuse, Phase.generate]
    run_machine(machine, examples=40, steps=40, phases=phases, report_multiple_bugs=False)
