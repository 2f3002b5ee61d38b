"""Runs state machines of hypothesis: against real servers nothing about them is too slow."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_machine(
    machine: type[RuleBasedStateMachine], *, examples: int, steps: int, **more: Any
) -> None:
    """Try *examples* sequences of at most *steps* rules; *more* are hypothesis's own settings."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )
