"""How late an event loop is: whether handlers, or anything else, keep it from everybody."""

import asyncio
import time
from collections.abc import Iterator

from pipeline.metrics.shapes import SHORT_S, Distribution, Metric, gauge

#: Seconds between two looks.
TICK_S = 0.25


class LoopClock:
    """Wakes up again and again, and sees how late that was."""

    def __init__(self) -> None:
        self._lags = Distribution(SHORT_S)
        self._due_at = 0.0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._due_at = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self._lags.observe(max(0.0, time.monotonic() - self._due_at))

    def collect(self) -> Iterator[Metric]:
        """What has been seen, and how late the loop is by now. Safe from any thread."""
        late_s = max(0.0, time.monotonic() - self._due_at) if self._due_at else 0.0
        yield Metric(
            "histogram",
            "event_loop_lag_seconds",
            f"How late the event loop came to what was due, looked at every {TICK_S:g} s.",
            [({}, self._lags)],
        )
        yield gauge(
            "event_loop_stall_seconds",
            "For how long the event loop has been overdue right now; a hang grows.",
            late_s,
        )
