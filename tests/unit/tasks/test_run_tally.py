"""Counts outlive the processes that made them."""

import os
import signal

from billiard import get_context

from tasks.run_tally import RunTally


def _count(tally: RunTally, times: int, *, is_killed: bool) -> None:
    for _ in range(times):
        tally.add("b", 0.25, is_failed=False)
    tally.add("a", 1.0, is_failed=True)
    tally.add("nobody", 1.0, is_failed=True)
    if is_killed:
        os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_ended_or_were_killed_still_count() -> None:
    """A successor adds to what is there, in the same place."""
    tally = RunTally(["a", "b"])
    for is_killed in (False, True, False):
        process = get_context("fork").Process(
            target=_count, args=(tally, 100), kwargs={"is_killed": is_killed}
        )
        process.index = 7
        process.start()
        process.join()
        assert (process.exitcode == -signal.SIGKILL) is is_killed
    assert tally.sums()["b"] == (300, 0, 75.0)
    assert tally.sums()["a"] == (0, 3, 3.0)
